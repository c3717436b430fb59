"""What the log knows of one line of a batch."""

import asyncio
from bisect import bisect_left

import msgspec

from events.batch import Batch, LinesCompleted, Usage
from events.catalog import decode
from events.errors import UnknownEvent
from events.inputs.line_search import FoundLine, LineSearch
from events.log import Log
from events.outcomes.lines import LineFacts, unpack_facts
from storage.store import Store

PAGE = 100


class LineRecord(msgspec.Struct, frozen=True):
    """The outcome of a line. `status` is as the facts have it, `started` Unix time in seconds, `seconds` what
    the last attempt took; `version` is that of the event which holds it, recorded at `second` (Unix time)."""

    status: int
    attempts: int
    usage: Usage
    started: float
    seconds: float
    worker: str
    version: int
    second: int


async def find_line(store: Store, batch: Batch, custom_id: str, longest: int) -> FoundLine | None:
    """The line of a batch's input that has this custom_id, the first if several have; lines over `longest`
    bytes are passed over. Reads the input up to there. Raises `ObjectMissing`."""
    if batch.created.input is None:
        return None
    search = LineSearch(custom_id, longest)
    async for piece in store.get(batch.created.input.storage_key):
        if found := await asyncio.to_thread(search.feed, piece):
            return found
    return search.finish()


async def record_of(log: Log, batch_id: str, line: int) -> LineRecord | None:
    """What is recorded of a line; None: nothing yet. Reads the facts of the batch up to there. Raises
    `UnknownEvent` where a newer program recorded it."""
    after = 0
    while page := await log.facts(batch_id, after=after, limit=PAGE):
        for version, _, column in page:
            facts = unpack_facts(column)
            at = bisect_left(facts.lines, line)
            if at < len(facts.lines) and facts.lines[at] == line:
                return await _record(log, batch_id, version, facts, at)
        after = page[-1][0]
    return None


async def _record(log: Log, batch_id: str, version: int, facts: LineFacts, at: int) -> LineRecord:
    (recorded,) = await log.stream(batch_id, after=version - 1, limit=1)
    event = decode(recorded.type, recorded.data)
    if not isinstance(event, LinesCompleted):
        raise UnknownEvent(f"event {recorded.event_id} has outcomes of lines and is a {recorded.type}")
    read, written = facts.input_tokens[at], facts.output_tokens[at]
    return LineRecord(
        status=facts.statuses[at],
        attempts=facts.attempts[at],
        usage=Usage(read, written, facts.cached_tokens[at], facts.reasoning_tokens[at], read + written),
        started=(event.began_ms + facts.started_ms[at]) / 1000,
        seconds=facts.took_ms[at] / 1000,
        worker=event.worker,
        version=version,
        second=recorded.second,
    )
