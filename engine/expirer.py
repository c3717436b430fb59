"""The leader's clock for what has a time of its own: uploads that nobody completed end by event.

An upload stays as it is until its event is recorded, so a leader that comes late makes nothing wrong.
"""

import asyncio
from typing import Final

import structlog

from events.catalog import new_event
from events.errors import NotFound, UnknownEvent
from events.journal import Decision, Journal
from events.log import Leadership, Row
from events.read_models import Seen
from events.upload import ExpireUpload, Upload, decide

_logger = structlog.get_logger()
EVERY: Final = 10.0
"""Seconds between two looks."""
AT_ONCE: Final = 1000


class Expirer:
    """Runs under a leadership; every write of it checks the token."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._parked: set[str] = set()

    async def run(self, leadership: Leadership) -> None:
        """Looks until cancelled. Raises `LeadershipLost`, and what the database raises."""
        while True:
            await self.look(leadership)
            await asyncio.sleep(EVERY)

    async def look(self, leadership: Leadership) -> None:
        """Expires the pending uploads whose time is over."""
        for upload_id in await self._journal.models.overdue_uploads(AT_ONCE):
            try:
                await self._journal.carry_out(Upload, upload_id, _expiry, leadership=leadership)
            except NotFound:  # it ended in between
                continue
            except UnknownEvent as error:
                if upload_id not in self._parked:
                    self._parked.add(upload_id)
                    _logger.warning("upload cannot expire", upload=upload_id, reason=str(error))


def _expiry(seen: Seen[Upload]) -> Decision:
    return Decision(
        [
            new_event(seen.id, seen.project_id, event, metadata='{"actor":"expirer"}')
            for event in decide(seen.state, ExpireUpload())
        ],
        rows=[Row("upload", seen.id, seen.project_id, hidden=True)],
    )
