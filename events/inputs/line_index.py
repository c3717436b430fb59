"""The index of a batch's lines: where each request line lies in the input file, and what it must be.

A batch's index is a sequence of blocks of `LINES_PER_BLOCK` lines, each an attachment of `LinesIndexed`
or `BatchStarted`: line 10,000 is in block 2. Compressed, about 6 bytes a line at lines of 1 kB.

    block   := version first_line count start number lengths digests gaps steps
    lengths := of each line, in bytes
    digests := of each line, its `line_digest`
    gaps    := between each line and the next: the bytes from the end of one to the start of the other
    steps   := between each line and the next: the difference of their physical line numbers
    column  := width values

`start` and `number` are those of the block's first line. Everything is little-endian; the values of one
column all have its width: 1, 2, 4 or 8 bytes, what its largest value needs. A line's bytes end before its
newline, or before the CR of a CRLF.
"""

import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate
from operator import add, sub
from typing import Final, NamedTuple

from events.errors import BatchmillError

LINES_PER_BLOCK: Final = 4096
"""Lines of every block but the last: 25 kB, read and decoded in a millisecond to run any of them."""
_VERSION: Final = 2
_HEADER: Final = struct.Struct("<BQIQQ")
_TYPES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Of arrays, by the width of their values."""


class BadIndex(BatchmillError):
    """A block of the line index that this program did not write, or not in this form."""


class LineSpan(NamedTuple):
    """Where a request line lies: bytes [start, end) of the input file, the `line_digest` of these bytes, and
    its physical line number, from 1, blank lines included."""

    start: int
    end: int
    digest: int
    number: int


class IndexBlock:
    """One decoded block; lines are named by their ordinal among the request lines of the batch, from 0."""

    def __init__(
        self,
        first_line: int,
        starts: "array[int]",
        lengths: "array[int]",
        digests: "array[int]",
        numbers: "array[int]",
    ) -> None:
        self.lines = range(first_line, first_line + len(starts))
        """The ordinals of its lines."""
        self._starts = starts
        self._lengths = lengths
        self._digests = digests
        self._numbers = numbers

    def span(self, line: int) -> LineSpan:
        """Where `line` lies; raises `IndexError` when it is in another block."""
        if line not in self.lines:
            raise IndexError(f"line {line} is not among the lines {self.lines} of this block")
        at = line - self.lines.start
        start = self._starts[at]
        return LineSpan(start, start + self._lengths[at], self._digests[at], self._numbers[at])


class BlockWriter:
    """A block in the making, the first line of which has the ordinal `first_line`."""

    def __init__(self, first_line: int) -> None:
        self._first_line = first_line
        self._starts = array("Q")
        self._lengths = array("Q")
        self._digests = array("I")
        self._numbers = array("Q")

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, length: int, digest: int, number: int) -> None:
        """Takes the next line in the order of the file, as a `LineSpan` says it but for its length."""
        self._starts.append(start)
        self._lengths.append(length)
        self._digests.append(digest)
        self._numbers.append(number)

    def encode(self) -> bytes:
        """The block, to be read by `decode_block`."""
        if not self._starts:
            raise ValueError("a block holds at least one line")
        starts, numbers = self._starts, self._numbers
        gaps = list(map(sub, starts[1:], map(add, starts, self._lengths)))
        steps = list(map(sub, numbers[1:], numbers))
        if min(gaps, default=0) < 0 or min(steps, default=1) < 1:
            raise ValueError("lines are not in the order of the file")
        header = _HEADER.pack(_VERSION, self._first_line, len(starts), starts[0], numbers[0])
        return header + b"".join(map(_column, (self._lengths, self._digests, gaps, steps)))


def line_digest(raw: bytes) -> int:
    """The CRC-32 of a line: enough to tell that the file is not what was validated, since a changed line goes
    unseen once in four billion. It need not withstand an attacker, who would have to own the storage."""
    return zlib.crc32(raw)


def block_of(line: int) -> int:
    """Which block, from 0, holds `line`."""
    return line // LINES_PER_BLOCK


def decode_block(data: bytes) -> IndexBlock:
    """Reads what a `BlockWriter` wrote; raises `BadIndex` for anything else."""
    if data[:1] != bytes([_VERSION]):
        raise BadIndex(
            f"a block of the line index has version {data[:1]!r}: it takes another program to read it"
        )
    try:
        return _decode(data)
    except (LookupError, ValueError, OverflowError, struct.error) as error:
        raise BadIndex(f"a block of the line index of {len(data)} bytes is cut or damaged") from error


def _decode(data: bytes) -> IndexBlock:
    _, first_line, count, start, number = _HEADER.unpack_from(data)
    lengths, at = _values(data, _HEADER.size, count)
    digests, at = _values(data, at, count)
    gaps, at = _values(data, at, count - 1)
    steps, at = _values(data, at, count - 1)
    if at != len(data):
        raise ValueError("there is more than a block")
    starts = array("Q", accumulate(map(add, gaps, lengths), initial=start))
    return IndexBlock(first_line, starts, lengths, digests, array("Q", accumulate(steps, initial=number)))


def _column(values: Sequence[int]) -> bytes:
    most = max(values, default=0)
    width = next(width for width in _TYPES if most < 1 << 8 * width)
    return bytes([width]) + _little_endian(array(_TYPES[width], values)).tobytes()


def _values(data: bytes, at: int, count: int) -> "tuple[array[int], int]":
    """The column of `count` values at `at`, and where it ends."""
    width = data[at]
    end = at + 1 + count * width
    values = array(_TYPES[width], data[at + 1 : end])
    if len(values) != count:
        raise ValueError("a column is cut")
    return _little_endian(values), end


def _little_endian(values: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        values.byteswap()
    return values
