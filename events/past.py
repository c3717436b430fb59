"""A batch as it was, folded from its events up to a moment."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Final

import msgspec

from events.batch import Batch
from events.catalog import fold
from events.errors import UnknownEvent
from events.event import RecordedEvent
from events.log import Log
from events.read_models import Seen

PAGE: Final = 1000
"""Events read at once."""


class Moment(msgspec.Struct, frozen=True):
    """After the event `version` of a stream, or, where that is None, at a `time`."""

    version: int | None = None
    time: datetime | None = None

    def before(self, event: RecordedEvent) -> bool:
        """Whether an event came later."""
        if self.version is not None:
            return event.version > self.version
        return self.time is not None and event.recorded_at > self.time


class Was(msgspec.Struct, frozen=True):
    """How a batch was: as it would have been seen then, and when that was."""

    seen: Seen[Batch]
    at: datetime


async def whole_stream(log: Log, stream_id: str) -> AsyncGenerator[RecordedEvent, None]:
    """Every event of a stream, read in pages."""
    version = 0
    while page := await log.stream(stream_id, after=version, limit=PAGE):
        for event in page:
            yield event
        if len(page) < PAGE:
            return
        version = page[-1].version


async def batch_at(log: Log, seen: Seen[Batch], moment: Moment) -> Was | None:
    """The batch `seen` as it was at a moment; None where it had not been created."""
    state: Batch | None = None
    version, parked, at = 0, None, None
    async for event in whole_stream(log, seen.id):
        if moment.before(event):
            break
        try:
            folded = fold(state, event)
        except UnknownEvent as error:
            parked = str(error)
            break
        assert isinstance(folded, Batch)
        state, version, at = folded, event.version, event.recorded_at
    if state is None or at is None:
        return None
    was = Seen(seen.id, seen.project_id, version, state, parked=parked)
    return Was(was, moment.time or at)
