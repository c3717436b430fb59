"""The index of a batch's lines: where each request line lies in the input file, and what it must be.

A batch's index is a sequence of blocks of `LINES_PER_BLOCK` lines, each an attachment of `LinesIndexed`
or `BatchStarted`: line 10,000 is in block 2. About 7 bytes a line at lines of 1 kB.

    block   := version first_line count start number spans digests
    spans   := (gap length)*      one pair a line, all varints (LEB128, as in protocol buffers)
    gap     := (bytes since the end of the line before) * 2, plus 1 when blank lines stand between;
               then a varint follows that says how many
    digests := 4 bytes a line     the first 4 of the SHA-256 of its bytes

`start` and `number` are those of the block's first line, so its own gap is 0. A line's bytes end before
its newline, or before the CR of a CRLF.
"""

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

from events.errors import BatchmillError

LINES_PER_BLOCK: Final = 4096
"""Lines of every block but the last: 30 kB, read and decoded in a few milliseconds to run any of them."""
DIGEST_BYTES: Final = 4
"""Enough to tell that the file is not what was validated: a changed line goes unseen once in four billion.
It need not withstand an attacker, who would have to own the storage; and the whole index is in memory once,
when it is recorded."""
_VERSION: Final = 1


class BadIndex(BatchmillError):
    """A block of the line index that this program did not write, or not in this form."""


class LineSpan(NamedTuple):
    """Where a request line lies: bytes [start, end) of the input file, the first 4 bytes of the SHA-256 of
    these bytes, and its physical line number, from 1, blank lines included."""

    start: int
    end: int
    digest: bytes
    number: int


class IndexBlock:
    """One decoded block; lines are named by their ordinal among the request lines of the batch, from 0."""

    def __init__(
        self, first_line: int, starts: "array[int]", ends: "array[int]", numbers: "array[int]", digests: bytes
    ) -> None:
        self.lines = range(first_line, first_line + len(starts))
        """The ordinals of its lines."""
        self._starts = starts
        self._ends = ends
        self._numbers = numbers
        self._digests = digests

    def span(self, line: int) -> LineSpan:
        """Where `line` lies; raises `IndexError` when it is in another block."""
        if line not in self.lines:
            raise IndexError(f"line {line} is not among the lines {self.lines} of this block")
        at = line - self.lines.start
        digest = self._digests[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES]
        return LineSpan(self._starts[at], self._ends[at], digest, self._numbers[at])


def block_of(line: int) -> int:
    """Which block, from 0, holds `line`."""
    return line // LINES_PER_BLOCK


def encode_block(first_line: int, lines: Sequence[LineSpan]) -> bytes:
    """The block of `lines`, in the order of the file, the first of which has the ordinal `first_line`."""
    if not lines:
        raise ValueError("a block holds at least one line")
    out = bytearray([_VERSION])
    for value in (first_line, len(lines), lines[0].start, lines[0].number):
        _put(out, value)
    end, number = lines[0].start, lines[0].number - 1
    for line in lines:
        blank = line.number - number - 1
        _put(out, (line.start - end) << 1 | (blank > 0))
        if blank:
            _put(out, blank)
        _put(out, line.end - line.start)
        end, number = line.end, line.number
    return bytes(out) + b"".join(line.digest for line in lines)


def decode_block(data: bytes) -> IndexBlock:
    """Reads what `encode_block` wrote; raises `BadIndex` for anything else."""
    if data[:1] != bytes([_VERSION]):
        raise BadIndex(
            f"a block of the line index has version {data[:1]!r}: it takes a newer program to read it"
        )
    try:
        return _decode(data)
    except (IndexError, OverflowError) as error:
        raise BadIndex(f"a block of the line index of {len(data)} bytes is cut or damaged") from error


def _decode(data: bytes) -> IndexBlock:
    first_line, at = _get(data, 1)
    count, at = _get(data, at)
    end, at = _get(data, at)
    number, at = _get(data, at)
    number -= 1
    starts, ends, numbers = array("Q"), array("Q"), array("Q")
    for _ in range(count):
        gap, at = _get(data, at)
        if gap & 1:
            blank, at = _get(data, at)
            number += blank
        length, at = _get(data, at)
        number += 1
        start = end + (gap >> 1)
        end = start + length
        starts.append(start)
        ends.append(end)
        numbers.append(number)
    digests = data[at:]
    if len(digests) != count * DIGEST_BYTES:
        raise IndexError
    return IndexBlock(first_line, starts, ends, numbers, digests)


def _put(out: bytearray, value: int) -> None:
    if value < 0:
        raise ValueError("lines are not in the order of the file")
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _get(data: bytes, at: int) -> tuple[int, int]:
    """The varint at `at`, and where it ends."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    value, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
