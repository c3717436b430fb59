"""Where notices arrive: looks which hand a batch needs next, and lends it (planning, or finalizing).

A notice is only a reason to look; what is done follows from the work board, and doing it twice is harmless.
"""

import asyncio
import time
from typing import Final

import structlog

from engine.finalizer import Finalizer
from engine.planner import Planner
from events.batch import BatchCreated
from events.bus import LOOK, Bus, Notice
from events.errors import BatchmillError
from events.work import OpenBatch, WorkBoard
from storage.store import StorageError

_logger = structlog.get_logger()
HANDS: Final = 4
"""Batches that one process plans or finalizes at the same time."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds before a batch that could not be planned or finalized is tried again, doubling."""


class Desk:
    """Plans and finalizes in one process."""

    def __init__(self, board: WorkBoard, bus: Bus, planner: Planner, finalizer: Finalizer) -> None:
        self._board = board
        self._bus = bus
        self._planner = planner
        self._finalizer = finalizer
        self._busy: set[str] = set()
        self._pauses: dict[str, tuple[float, float]] = {}

    async def run(self) -> None:
        """Takes notices until cancelled."""
        subscriptions = [await self._bus.take_notices(self._noticed) for _ in range(HANDS)]
        try:
            await asyncio.Event().wait()
        finally:
            for subscription in subscriptions:
                await subscription.cancel()

    async def _noticed(self, notice: Notice) -> None:
        if notice.type in (BatchCreated.__name__, LOOK):
            await self.look(notice.stream_id)

    async def look(self, batch_id: str) -> None:
        """Does what the batch needs now, unless this process is at it or failed at it a moment ago."""
        due, pause = self._pauses.get(batch_id, (0.0, FIRST_PAUSE))
        if batch_id in self._busy or time.monotonic() < due:
            return
        self._busy.add(batch_id)
        try:
            for batch in await self._board.open_batches([batch_id]):
                await self._help(batch)
            self._pauses.pop(batch_id, None)
        except (BatchmillError, StorageError, OSError) as error:
            self._pauses[batch_id] = (time.monotonic() + pause, min(2 * pause, LONGEST_PAUSE))
            _logger.warning("batch put off", batch=batch_id, seconds=pause, reason=str(error))
            await self._explain(batch_id, f"tries again soon: {error}")
        finally:
            self._busy.discard(batch_id)

    async def _help(self, batch: OpenBatch) -> None:
        if batch.phase == "planning":
            await self._planner.plan(batch.batch_id)
        elif batch.phase == "finalizing" or may_finalize(batch):
            await self._finalizer.finalize(batch.batch_id)

    async def _explain(self, batch_id: str, reason: str) -> None:
        try:
            await self._board.explain({batch_id: reason})
        except BatchmillError as error:
            _logger.warning("cannot say why a batch waits", batch=batch_id, reason=str(error))


def may_finalize(batch: OpenBatch) -> bool:
    """Whether nothing more can be recorded, or what is in flight has had its time."""
    if batch.phase == "running":
        return batch.lines_left == 0
    if batch.phase == "stopping":
        return batch.held == 0 or (batch.stop_in is not None and batch.stop_in <= 0)
    return batch.phase == "finalizing"
