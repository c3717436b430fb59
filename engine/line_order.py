"""Puts the recorded result lines of a batch into line order, whatever the order they were recorded in.

A k-way merge of sorted runs in which the log itself is the disk: a flush is a run (its lines ascend), and
its attachment can be read again. A first pass over the flushes notes where each begins, 8 bytes a flush.
Then flushes are opened in the order of their first lines; an open one keeps the numbers and sizes of its
lines, while its body comes and goes. A flush holds lines of one chunk only, so those of different chunks
do not overlap and mostly each body is read once. When more bodies are needed at once than may be held, the
one needed last is let go and read again in its time (Belady's rule: here the future is known).
"""

import heapq
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import groupby
from typing import Final

import msgspec

from events.log import Log, RecordedFlush
from events.outcomes.flush_body import ResultsDamaged, flush_body
from events.outcomes.lines import is_success, unpack_facts

MEMORY_BYTES: Final = 64 << 20
"""Most bytes of result lines held, beside the body that is needed now."""
PAGE: Final = 100
"""Flushes a page of the first pass: 640 kB of facts."""
NEVER_RUN: Final = 0
"""The status of a line that has no outcome and gets one from how its batch ended."""
_VERSION_BITS: Final = 32
"""A flush is noted as its first line and, in the lower bits, its version: both stay below 2**32."""


class Stretch(msgspec.Struct, frozen=True):
    """Result lines that follow each other: the ordinals of their requests, ascending, how each went, and the
    bytes of each text, which stand side by side in `text`, newlines included."""

    lines: Sequence[int]
    statuses: Sequence[int]
    sizes: Sequence[int]
    text: bytes

    def part(self, first: int, end: int) -> "Stretch":
        """Those from the one at `first` to the one before `end`, counted from 0."""
        before = sum(self.sizes[:first])
        sizes = self.sizes[first:end]
        text = self.text[before : before + sum(sizes)]
        return Stretch(self.lines[first:end], self.statuses[first:end], sizes, text)

    def by_file(self) -> Iterator[tuple[bool, int, bytes]]:
        """Runs of lines that belong into the same file: whether that is the output file, how many there are,
        and their text."""
        if is_success(min(self.statuses)) and is_success(max(self.statuses)):
            yield True, len(self.lines), self.text
            return
        start = 0
        for success, run in groupby(
            zip(self.statuses, self.sizes, strict=True), lambda line: is_success(line[0])
        ):
            sizes = [size for _, size in run]
            end = start + sum(sizes)
            yield success, len(sizes), self.text[start:end]
            start = end


async def in_line_order(
    log: Log, batch_id: str, memory_bytes: int = MEMORY_BYTES, *, proven: bool = False
) -> AsyncIterator[Stretch]:
    """Every result line recorded for a batch, in line order, in stretches that were recorded together;
    nothing may be recorded any more. `proven`: whoever asks looks at the digests of attachments elsewhere.

    Raises `ResultsDamaged` where an attachment is missing or not what was recorded, or a line was recorded
    twice.
    """
    flushes = await _flushes(log, batch_id)
    bodies = _Bodies(log, batch_id, memory_bytes, proven=proven)
    opened: list[_Flush] = []
    before = -1
    upcoming = 0
    while opened or upcoming < len(flushes):
        while upcoming < len(flushes) and (
            not opened or flushes[upcoming] >> _VERSION_BITS <= opened[0].line
        ):
            version = flushes[upcoming] & (1 << _VERSION_BITS) - 1
            heapq.heappush(opened, await bodies.open(version, opened))
            upcoming += 1
        flush = heapq.heappop(opened)
        if flush.line <= before:
            raise ResultsDamaged(f"batch {batch_id} has two outcomes of line {flush.line} in the log")
        others = [opened[0].line] if opened else []
        if upcoming < len(flushes):
            others.append(flushes[upcoming] >> _VERSION_BITS)
        if flush.body is None:
            await bodies.load(flush, opened)
        stretch = flush.read_below(min(others, default=None))
        before = stretch.lines[-1]
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


class _Flush:
    """An open flush: its lines, the next of which stands at `line`, and its body while that is held."""

    def __init__(self, version: int, recorded: RecordedFlush) -> None:
        facts = unpack_facts(recorded.lines)
        self.version = version
        self.body: bytes | None = None
        self.line = facts.lines[0]
        self._lines = facts.lines
        self._statuses = facts.statuses
        self._sizes = facts.sizes
        self._next = 0
        self._offset = 0

    def __lt__(self, other: "_Flush") -> bool:
        return self.line < other.line

    @property
    def ended(self) -> bool:
        """Whether all of its lines were read."""
        return self._next == len(self._lines)

    @property
    def size(self) -> int:
        """Bytes of its body."""
        return sum(self._sizes)

    def read_below(self, bound: int | None) -> Stretch:
        """The line at which it stands and those after it that are below `bound` (None: all). Its body must be
        held."""
        assert self.body is not None
        lines, first = self._lines, self._next
        end = len(lines) if bound is None else max(first + 1, bisect_left(lines, bound, first))
        sizes = self._sizes[first:end]
        text = self.body[self._offset : self._offset + sum(sizes)]
        stretch = Stretch(lines[first:end], self._statuses[first:end], sizes, text)
        self._next, self._offset = end, self._offset + len(text)
        if not self.ended:
            self.line = lines[end]
        return stretch


class _Bodies:
    """Opens flushes, reads their bodies, and holds as many of these as it may."""

    def __init__(self, log: Log, batch_id: str, memory_bytes: int, *, proven: bool) -> None:
        self._log = log
        self._batch_id = batch_id
        self._memory_bytes = memory_bytes
        self._proven = proven
        self._held_bytes = 0

    async def open(self, version: int, opened: list[_Flush]) -> _Flush:
        """The flush of this version with its body, which is needed next."""
        recorded = await self._recorded(version)
        flush = _Flush(version, recorded)
        await self._hold(flush, recorded, opened)
        return flush

    async def load(self, flush: _Flush, opened: list[_Flush]) -> None:
        """Reads the body of `flush` again."""
        await self._hold(flush, await self._recorded(flush.version), opened)

    def let_go(self, flush: _Flush) -> None:
        """Drops a body; it can be loaded again."""
        if flush.body is not None:
            self._held_bytes -= len(flush.body)
            flush.body = None

    async def _recorded(self, version: int) -> RecordedFlush:
        recorded = await self._log.flushed(self._batch_id, version)
        if recorded is None:
            raise ResultsDamaged(f"batch {self._batch_id} has no event {version} with results any more")
        return recorded

    async def _hold(self, flush: _Flush, recorded: RecordedFlush, opened: list[_Flush]) -> None:
        """Takes a body in; others of those `opened` are let go where it takes too much."""
        body = await flush_body(recorded, flush.size, proven=self._proven)
        while self._held_bytes and self._held_bytes + len(body) > self._memory_bytes:
            self.let_go(max(held for held in opened if held.body is not None))
        flush.body = body
        self._held_bytes += len(body)
