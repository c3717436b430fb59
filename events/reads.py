"""Who has read contents: events beside the objects, on a stream of its own for each project.

Nothing is folded of them, and no row of the read models belongs to them: they are there to be looked at. An
event is recorded before the first byte goes out, so no read is without one; how much of it arrived it does
not say. Who read, and from where, is its origin.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final, Literal

import msgspec

from events.event import RecordedEvent
from events.log import Log

PREFIX: Final = "reads-"
PAGE: Final = 1000

Part = Literal["bytes", "results", "line", "errors"]


class ContentRead(msgspec.Struct, frozen=True):
    """Contents of the file or batch `of` were about to be sent, from `start` to `end`, not including `end`:
    `bytes` of the file; `results` of the batch, in the order in which they were recorded; what is known of a
    `line` of its input, counted from 0; groups of its `errors`."""

    of: str
    part: Part
    start: int
    end: int


ReadEvent = ContentRead


def reads_stream(project_id: str) -> str:
    """The stream of the reads of a project's contents."""
    return PREFIX + project_id


def is_of_reads(stream_id: str) -> bool:
    """Whether a stream tells of reads."""
    return stream_id.startswith(PREFIX)


async def recorded_reads(
    log: Log, project_id: str, since: datetime | None = None
) -> AsyncIterator[RecordedEvent]:
    """The reads of a project's contents, the oldest first; those recorded at `since` or later."""
    stream = reads_stream(project_id)
    version = 0 if since is None else await _version_before(log, stream, since)
    while page := await log.stream(stream, after=version, limit=PAGE):
        for event in page:
            yield event
        version = page[-1].version


async def _version_before(log: Log, stream: str, moment: datetime) -> int:
    """The last version that was recorded before a moment, found in a few looks however many there are."""

    async def before(version: int) -> bool:
        events = await log.stream(stream, after=version - 1, limit=1)
        return bool(events) and events[0].recorded_at < moment

    low, high = 0, 1
    while await before(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if await before(middle) else (low, middle)
    return low
