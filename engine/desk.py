"""Where notices arrive: looks which hand a batch needs next, and lends it (planning, or finalizing).

A notice is only a reason to look; what is done follows from the work board and the log, and doing it twice is
harmless. Where no notice comes, the board is looked at all the same. Of several processes one lends a batch
its hand, as long as it shows that it lives, unless to plan it takes but a moment.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog

from engine.drain import Drain
from engine.finalizer import Finalizer
from engine.options import EngineOptions
from engine.pauses import Pauses
from engine.planner import Planner
from engine.reason import say_why
from events.batch import BatchCreated
from events.bus import LOOK, Bus, Notice, Subscription
from events.errors import BatchmillError
from events.work import WorkBoard
from storage.store import StorageError

_logger = structlog.get_logger()
HANDS: Final = 4
"""Batches that one process plans or finalizes at the same time."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds before a batch that could not be planned or finalized is tried again, doubling."""


class Desk:
    """Plans and finalizes in one process; `stop` first, where there is time for it."""

    def __init__(
        self, board: WorkBoard, bus: Bus, planner: Planner, finalizer: Finalizer, options: EngineOptions
    ) -> None:
        self._board = board
        self._bus = bus
        self._planner = planner
        self._finalizer = finalizer
        self._options = options
        self._id = "d_" + secrets.token_hex(8)
        self._busy: set[str] = set()
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._told = False
        """Whether a leader has told of a batch lately: then it tells of all."""
        self._subscriptions: Sequence[Subscription] = ()
        self._stopping = False
        self._drain = Drain(options.drain)
        self._rested = asyncio.Event()
        self._rested.set()

    async def run(self) -> None:
        """Takes notices, and looks where none come, until cancelled."""
        taking = (self._bus.take_notices(self._take) for _ in range(HANDS))
        self._subscriptions = await asyncio.gather(*taking)
        async with asyncio.TaskGroup() as group:
            while True:
                self._told = False
                await asyncio.sleep(self._options.poll)
                if not self._told:
                    await self._look_around(group)

    async def stop(self) -> None:
        """Takes nothing more, and returns when nothing is in hand or the drain time is over: another begins
        again what is left then."""
        self._stopping = True
        await asyncio.gather(
            self._drain.until(self._rested.wait()), *(taking.cancel() for taking in self._subscriptions)
        )

    def hurry(self) -> None:
        """Ends the drain time of a `stop`, also of one to come."""
        self._drain.hurry()

    async def _take(self, notice: Notice) -> None:
        if notice.type == BatchCreated.__name__:
            await self._try(notice.stream_id, self._plan)
        elif notice.type == LOOK:
            self._told = True
            await self.look(notice.stream_id)

    async def _look_around(self, group: asyncio.TaskGroup) -> None:
        """Looks at batches that need a hand and were not told of, as many as there are hands free."""
        try:
            batches = await self._board.open_batches()
        except BatchmillError as error:
            _logger.warning("board not looked at", reason=str(error))
            return
        need = [b.batch_id for b in batches if b.needs_a_hand and self._may_look(b.batch_id)]
        for batch_id in need[: max(0, HANDS - len(self._busy))]:
            group.create_task(self.look(batch_id))

    async def look(self, batch_id: str) -> None:
        """Does what the batch needs now, unless somebody is at it or failed at it a moment ago."""
        await self._try(batch_id, self._help)

    async def _try(self, batch_id: str, help: Callable[[str], Awaitable[None]]) -> None:
        if not self._may_look(batch_id):
            return
        self._busy.add(batch_id)
        self._rested.clear()
        try:
            await help(batch_id)
            self._pauses.end(batch_id)
        except (BatchmillError, StorageError, OSError) as error:
            pause = self._pauses.begin(batch_id)
            _logger.warning("batch put off", batch=batch_id, seconds=pause, reason=str(error))
            await say_why(self._board, batch_id, f"tries again soon: {error}")
        finally:
            self._busy.discard(batch_id)
            if not self._busy:
                self._rested.set()

    def _may_look(self, batch_id: str) -> bool:
        """Not while a hand is on it here, nor soon after that failed, nor in a process that stops."""
        return not self._stopping and batch_id not in self._busy and self._pauses.over(batch_id)

    @asynccontextmanager
    async def _hand_on(self, batch_id: str) -> AsyncIterator[bool]:
        """Whether this process is the one to help a batch; the others see that, for as long as the block
        runs."""
        if not await self._board.lend_hand(batch_id, self._id, self._options.lease):
            yield False
            return
        beating = asyncio.create_task(self._go_on_lending(batch_id))
        try:
            yield True
        finally:
            beating.cancel()
            await asyncio.wait({beating})
            await asyncio.shield(self._withdraw(batch_id))

    async def _go_on_lending(self, batch_id: str) -> None:
        while True:
            await asyncio.sleep(self._options.beat)
            try:
                await self._board.lend_hand(batch_id, self._id, self._options.lease)
            except BatchmillError as error:
                _logger.warning("cannot say who plans a batch", batch=batch_id, reason=str(error))

    async def _withdraw(self, batch_id: str) -> None:
        try:
            async with asyncio.timeout(self._options.beat):
                await self._board.withdraw_hand(batch_id, self._id)
        except (BatchmillError, TimeoutError) as error:
            why = str(error) or "no answer in time"
            _logger.warning("hand not withdrawn; its lease runs out", batch=batch_id, reason=why)

    async def _help(self, batch_id: str) -> None:
        for batch in await self._board.open_batches([batch_id]):
            if batch.phase == "planning":
                await self._plan(batch_id)
            elif batch.needs_a_hand:
                async with self._hand_on(batch_id) as lent:
                    if lent:
                        await self._finalizer.finalize(batch_id)

    async def _plan(self, batch_id: str) -> None:
        """Also without a look at the board: a batch that is not to be planned the planner leaves alone. To
        say that it is being planned would take longer than to plan a small one, and twice does no harm."""
        seen = await self._planner.read(batch_id)
        if self._planner.plans_at_once(seen):
            await self._planner.plan(seen)
            return
        async with self._hand_on(batch_id) as lent:
            if lent:  # and to look again whether somebody has planned it
                await self._planner.plan(await self._planner.read(batch_id))
