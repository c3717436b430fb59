"""Finds work where no message brings any: free chunks on the work board, while a worker has room for them.

With a bus that works there is little to find: what others were told of and have no slot for. Without one this
is how lines go on running.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from engine.chunk import Chunk
from engine.routes import Route, route_of
from engine.worker import Worker
from events.batch import LinesCompleted
from events.bus import LEFT, Bus, Notice, Work
from events.errors import BatchmillError
from events.work import WorkBoard
from storage.store import StorageError

_logger = structlog.get_logger()
SEEN: Final = 200
"""Free chunks of which a look draws: of the same few, every worker would want the same."""
REASONS: Final = {LinesCompleted.__name__, LEFT}
"""Notices on which to look."""
SOON: Final = 0.1
"""Seconds between two looks, however much happens."""


class Lookout:
    """Looks for one worker: when lines have ended or were left anywhere, when the last look found something,
    and else every `poll` seconds."""

    def __init__(
        self, board: WorkBoard, bus: Bus, worker: Worker, routes: Sequence[Route], poll: float
    ) -> None:
        self._board = board
        self._bus = bus
        self._worker = worker
        self._routes = routes
        self._poll = poll
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Looks until cancelled."""
        undo = self._bus.on_wake(self._noticed)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._woken.clear()
                    try:
                        if await self._look(group):
                            self._woken.set()
                    except (BatchmillError, StorageError) as error:
                        _logger.warning("no work looked for", reason=str(error))
                    await asyncio.sleep(min(SOON, self._poll))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._poll):
                            await self._woken.wait()
        finally:
            undo()

    def _noticed(self, notices: Sequence[Notice]) -> None:
        if any(notice.type in REASONS for notice in notices):
            self._woken.set()

    async def _look(self, group: asyncio.TaskGroup) -> bool:
        """Takes what there is room for; whether that was anything."""
        if not any(self._worker.has_room(route.name) for route in self._routes):
            return False
        free = await self._board.free_claims(SEEN)
        batches = await self._board.open_batches(sorted({work.batch_id for work in free})) if free else []
        routes = {batch.batch_id: route_of(self._routes, batch.model or "") for batch in batches}
        found = False
        for work in random.sample(free, len(free)):
            route = routes.get(work.batch_id)
            if route is not None and self._worker.has_room(route.name, work.lines):
                chunk = await self._worker.begin(route.name, work)
                if chunk is not None:
                    found = True
                    group.create_task(self._see_through(chunk, work))
        return found

    async def _see_through(self, chunk: Chunk, work: Work) -> None:
        try:
            await self._worker.see_through(chunk)
        except BatchmillError as error:
            # Held on the board and not here: the worker's next beat gives it up.
            _logger.warning("chunk not handed back", work=repr(work), reason=str(error))
