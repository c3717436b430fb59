"""The other workers, as one worker sees them: whoever stands still for a whole lease is declared dead."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from events.errors import BatchmillError
from events.staleness import Watch
from events.work import WorkBoard

_logger = structlog.get_logger()
STRAY: Final = -1
"""The beat of who holds a claim and is not registered: it never changes."""


class Neighbours:
    """Looked at once a beat. Each worker sees for itself who is dead, and so does a leader that is none; to
    say so twice is harmless."""

    def __init__(self, board: WorkBoard, lease: float, clock: Callable[[], float]) -> None:
        self._board = board
        self._lease = lease
        self._clock = clock
        self._watches: dict[str, Watch[int]] = {}

    async def look(self, own: str) -> None:
        """Frees the claims of those who have died; `own` is the id of who looks."""
        beats: Mapping[str, int] = await self._board.workers()
        strays = {id: STRAY for id in await self._board.strays() if id not in beats}
        seen = {id: beat for id, beat in {**beats, **strays}.items() if id != own}
        self._watches = {id: self._watches.get(id) or Watch(self._lease) for id in seen}
        now = self._clock()
        dead = [id for id, beat in seen.items() if self._watches[id].stale(beat, now)]
        if dead:
            voided = await self._board.void_claims(dead)
            _logger.warning("workers died", workers=dead, claims_freed=voided)

    async def watch(self, beat: float, sure: Callable[[], bool]) -> None:
        """Looks until cancelled, for who does not beat with them. `sure` says whether the database takes
        beats: where nobody can beat, a beat that stands still means nothing."""
        while True:
            await asyncio.sleep(beat)
            try:
                if sure():
                    async with asyncio.timeout(self._lease):
                        await self.look("")
                else:
                    self.forget()
            except (BatchmillError, TimeoutError) as error:
                self.forget()
                _logger.warning("workers not seen", reason=str(error) or "no answer in time")

    def forget(self) -> None:
        """Nothing is known of the time since the last look."""
        self._watches.clear()
