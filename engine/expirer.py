"""The leader's clock for what has a time of its own: files, and uploads that nobody completed, end by event.

An object stays as it is until its event is recorded, so a leader that comes late makes nothing wrong. A batch
goes on when its input expires; what is erased, and when, is the eraser's to say.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from engine.origin import origin
from events import file, upload
from events.catalog import State, new_event
from events.errors import NotFound, UnknownEvent
from events.file import ExpireFile, File
from events.journal import Decision, Journal
from events.log import Leadership, Row
from events.read_models import Seen
from events.upload import ExpireUpload, Upload

_logger = structlog.get_logger()
EVERY: Final = 10.0
"""Seconds between two looks: about as much may an object outlive its time."""
AT_ONCE: Final = 1000
_ORIGIN: Final = origin("expirer")

S = TypeVar("S", bound=State)


class Expirer:
    """Runs under a leadership; every write of it checks the token."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def run(self, leadership: Leadership) -> None:
        """Looks until cancelled. Raises `LeadershipLost`, and what the database raises."""
        while True:
            if await self.look(leadership) < AT_ONCE:
                await asyncio.sleep(EVERY)

    async def look(self, leadership: Leadership) -> int:
        """Expires files and pending uploads whose time is over, some of each, and says how many."""
        return await self._expire(File, _of_file, leadership) + await self._expire(
            Upload, _of_upload, leadership
        )

    async def _expire(
        self, kind: type[S], decide: Callable[[Seen[S]], Decision], leadership: Leadership
    ) -> int:
        expired = 0
        for id in await self._journal.models.overdue(kind, AT_ONCE):
            try:
                await self._journal.carry_out(kind, id, decide, leadership=leadership)
                expired += 1
            except NotFound:  # it ended in between
                continue
            except UnknownEvent as error:  # and its row does not say so yet
                _logger.warning("not expired", object=id, reason=str(error))
        if expired:
            _logger.info("expired", kind=kind.__name__, objects=expired)
        return expired


def _of_file(seen: Seen[File]) -> Decision:
    return Decision(
        [
            new_event(seen.id, seen.project_id, event, metadata=_ORIGIN)
            for event in file.decide(seen.state, ExpireFile())
        ],
        rows=[Row("file", seen.id, seen.project_id, hidden=True)],
    )


def _of_upload(seen: Seen[Upload]) -> Decision:
    return Decision(
        [
            new_event(seen.id, seen.project_id, event, metadata=_ORIGIN)
            for event in upload.decide(seen.state, ExpireUpload())
        ],
        rows=[Row("upload", seen.id, seen.project_id, hidden=True)],
    )
