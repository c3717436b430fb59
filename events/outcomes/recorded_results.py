"""The result lines of a batch in the order in which they were recorded, while it runs and after.

In this order what was recorded stays where it is and new lines come after it, so a number of lines is a place
to go on from. Line order, which the result files have, cannot be had before the last line is recorded.
"""

from collections.abc import AsyncGenerator, AsyncIterator

from events.batch import LinesCompleted
from events.catalog import decode
from events.log import Log
from events.outcomes.flush_body import ResultsDamaged, flush_body
from events.outcomes.lines import unpack_facts


async def recorded_results(log: Log, batch_id: str, *, skip: int, take: int) -> AsyncGenerator[bytes, None]:
    """The `take` result lines after the first `skip`, in pieces of whole lines with their newlines; at least
    so many must have been recorded. One flush is held at a time.

    Raises `ResultsErased` and `ResultsDamaged`, and `UnknownEvent` for a history of a newer program.
    """
    async for version, lines in _flushes(log, batch_id):
        if not take:
            return
        if skip >= lines:
            skip -= lines
            continue
        piece, taken = await _part(log, batch_id, version, skip, take)
        yield piece
        skip, take = 0, take - taken
    if take:
        raise ResultsDamaged(f"batch {batch_id} has {take} results fewer in the log than it says")


async def _flushes(log: Log, batch_id: str) -> AsyncIterator[tuple[int, int]]:
    """The version of each flush, in order, and how many lines it has."""
    after = 0
    while page := await log.stream(batch_id, after=after):
        for recorded in page:
            event = decode(recorded.type, recorded.data)
            if isinstance(event, LinesCompleted):
                yield recorded.version, event.completed + event.failed
        after = page[-1].version


async def _part(log: Log, batch_id: str, version: int, skip: int, most: int) -> tuple[bytes, int]:
    """At most `most` lines of a flush after its first `skip`, and how many they are."""
    recorded = await log.flushed(batch_id, version)
    if recorded is None:
        raise ResultsDamaged(f"batch {batch_id} has no event {version} with results any more")
    sizes = unpack_facts(recorded.lines).sizes
    body = await flush_body(recorded, sum(sizes))
    wanted = sizes[skip : skip + most]
    start = sum(sizes[:skip])
    return body[start : start + sum(wanted)], len(wanted)
