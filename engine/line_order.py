"""Puts the recorded result lines of a batch into line order, whatever the order they were recorded in.

A k-way merge of sorted runs in which the log itself is the disk: a flush is a run (its lines ascend), and
its attachment can be read again. A first pass over the flushes notes where each begins, 8 bytes a flush.
Then flushes are opened in the order of their first lines; an open one keeps the numbers and sizes of its
lines, while its body comes and goes. A flush holds lines of one chunk only, so those of different chunks
do not overlap and mostly each body is read once. When more bodies are needed at once than may be held, the
one needed last is let go and read again in its time (Belady's rule: here the future is known).
"""

import asyncio
import heapq
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator
from typing import Final, NamedTuple
from uuid import UUID

import zstandard

from events.batch import LinesCompleted
from events.catalog import decode
from events.errors import BatchmillError
from events.event import RecordedEvent
from events.lines import LineFacts, root_digest, unpack_block, unpack_facts
from events.log import Log

MEMORY_BYTES: Final = 64 << 20
"""Most bytes of result lines held, beside the body that is needed now."""
INLINE_BYTES: Final = 128 << 10
"""A larger stored body is unpacked in a thread, so that it holds up nothing else."""
PAGE: Final = 100
"""Flushes a page of the first pass: 640 kB of facts."""
_VERSION_BITS: Final = 32
"""A flush is noted as its first line and, in the lower bits, its version: both stay below 2**32."""


class ResultsDamaged(BatchmillError):
    """What the log holds of a batch's results is not what was recorded; no file is made of it."""


class ResultLine(NamedTuple):
    """One line of the output or error file: the ordinal of its request, how that went, and the text with
    its newline. `status` None: it was never run."""

    line: int
    status: int | None
    text: bytes

    @property
    def succeeded(self) -> bool:
        """Whether it belongs into the output file."""
        return self.status is not None and 200 <= self.status < 300


async def in_line_order(
    log: Log, batch_id: str, memory_bytes: int = MEMORY_BYTES
) -> AsyncIterator[list[ResultLine]]:
    """Every result line recorded for a batch, in line order, in stretches that were recorded together;
    nothing may be recorded any more.

    Raises `ResultsDamaged` where an attachment is missing, its lines do not have the digest that was
    recorded, or a line was recorded twice.
    """
    flushes = await _flushes(log, batch_id)
    bodies = _Bodies(log, batch_id, memory_bytes)
    opened: list[_Flush] = []
    before = -1
    upcoming = 0
    while opened or upcoming < len(flushes):
        while upcoming < len(flushes) and (
            not opened or flushes[upcoming] >> _VERSION_BITS <= opened[0].line
        ):
            version = flushes[upcoming] & (1 << _VERSION_BITS) - 1
            heapq.heappush(opened, await _open(log, batch_id, version))
            upcoming += 1
        flush = heapq.heappop(opened)
        if flush.line <= before:
            raise ResultsDamaged(f"batch {batch_id} has two outcomes of line {flush.line} in the log")
        others = [opened[0].line] if opened else []
        if upcoming < len(flushes):
            others.append(flushes[upcoming] >> _VERSION_BITS)
        body = flush.body or await bodies.load(flush, opened)
        stretch = flush.read_below(min(others, default=None), body)
        before = stretch[-1].line
        yield stretch
        if flush.ended:
            bodies.let_go(flush)
        else:
            heapq.heappush(opened, flush)


async def _flushes(log: Log, batch_id: str) -> "array[int]":
    """Every flush of a batch by its first line."""
    found = array("Q")
    after = 0
    while page := await log.facts(batch_id, after=after, limit=PAGE):
        for version, _, column in page:
            found.append(unpack_facts(column).lines[0] << _VERSION_BITS | version)
        after = page[-1][0]
    return array("Q", sorted(found))


async def _open(log: Log, batch_id: str, version: int) -> "_Flush":
    events, page = await asyncio.gather(
        log.stream(batch_id, after=version - 1, limit=1), log.facts(batch_id, after=version - 1, limit=1)
    )
    if not events or not page or events[0].event_id != page[0][1]:
        raise ResultsDamaged(f"batch {batch_id} has no event {version} any more")
    return _Flush(events[0], unpack_facts(page[0][2]))


class _Flush:
    """An open flush: its lines, the next of which stands at `line`, and its body while that is held."""

    def __init__(self, event: RecordedEvent, facts: LineFacts) -> None:
        completed = decode(event.type, event.data)
        if not isinstance(completed, LinesCompleted):
            raise ResultsDamaged(f"event {event.event_id} has facts of lines, but is a {event.type}")
        self.event_id: UUID = event.event_id
        self.lines = facts.lines
        self.body: bytes | None = None
        self._root = completed.root
        self._statuses = facts.statuses
        self._sizes = facts.sizes
        self._next = 0
        self._offset = 0
        self.line = facts.lines[0]

    def __lt__(self, other: "_Flush") -> bool:
        return self.line < other.line

    @property
    def ended(self) -> bool:
        """Whether all of its lines were read."""
        return self._next == len(self.lines)

    def read_below(self, bound: int | None, body: bytes) -> list[ResultLine]:
        """The line at which it stands and those after it that are below `bound` (None: all)."""
        lines, first = self.lines, self._next
        end = len(lines) if bound is None else max(first + 1, bisect_left(lines, bound, first))
        stretch, offset = [], self._offset
        for line, status, size in zip(
            lines[first:end], self._statuses[first:end], self._sizes[first:end], strict=True
        ):
            stretch.append(ResultLine(line, status, body[offset : offset + size]))
            offset += size
        self._next, self._offset = end, offset
        if not self.ended:
            self.line = lines[end]
        return stretch

    def unpack(self, stored: bytes, salt: bytes) -> bytes:
        """The body of its stored form, proven to be what was recorded. A large one takes milliseconds."""
        try:
            body = unpack_block(stored, limit=max(1, sum(self._sizes)))
        except zstandard.ZstdError as error:
            raise ResultsDamaged(f"the results of event {self.event_id} cannot be unpacked") from error
        results, start = [], 0
        for size in self._sizes:
            results.append(body[start : start + size])
            start += size
        if start != len(body) or root_digest(self.lines, results, salt) != self._root:
            raise ResultsDamaged(f"the results of event {self.event_id} do not have the recorded digest")
        return body


class _Bodies:
    """Reads the bodies of open flushes and holds as many as it may."""

    def __init__(self, log: Log, batch_id: str, memory_bytes: int) -> None:
        self._log = log
        self._batch_id = batch_id
        self._memory_bytes = memory_bytes
        self._held_bytes = 0

    async def load(self, flush: _Flush, opened: list[_Flush]) -> bytes:
        """The body of `flush`, one of those `opened`; others are let go where it takes too much."""
        attachment = await self._log.attachment(flush.event_id)
        if attachment is None:
            raise ResultsDamaged(
                f"the results of event {flush.event_id} of batch {self._batch_id} are gone from the log"
            )
        if len(attachment.body) > INLINE_BYTES:
            body = await asyncio.to_thread(flush.unpack, attachment.body, attachment.salt)
        else:
            body = flush.unpack(attachment.body, attachment.salt)
        while self._held_bytes and self._held_bytes + len(body) > self._memory_bytes:
            self.let_go(max(held for held in opened if held.body is not None))
        flush.body = body
        self._held_bytes += len(body)
        return body

    def let_go(self, flush: _Flush) -> None:
        """Drops a body; it can be loaded again."""
        if flush.body is not None:
            self._held_bytes -= len(flush.body)
            flush.body = None
