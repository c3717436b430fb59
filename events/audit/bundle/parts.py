"""A bundle as bytes: parts one after the other, in the only encoding that they have.

    <name> <length of the content> <SHA-256 of the content, hex>\\n
    <content>\\n

Lengths are decimal, without leading zeros. The checksum tells a part that was damaged on its way; it proves
nothing, since whoever changes a content can change it too.
"""

import re
import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Literal, Protocol, cast

import msgspec

from events.errors import BatchmillError

Name = Literal["bundle", "checkpoint", "event", "hashes", "salt", "digests", "body", "erased", "rest"]
"""What a part is."""
Place = Name | Literal["batch", "output", "errors"]
"""Where something is wrong: in a part, in what the parts say together of the batch, or in a result file that
was given with the bundle."""

MOST_BYTES: Final = 1 << 30
"""Of one content."""
_HEAD: Final = re.compile(rb"([a-z]{1,16}) (0|[1-9][0-9]{0,9}) ([0-9a-f]{64})\n")
_LONGEST_HEAD: Final = 16 + 1 + 10 + 1 + 64 + 1
_PIECE: Final = 1 << 20
_LENGTH: Final = struct.Struct(">i")


class BundleFlaw(BatchmillError):
    """Why a bundle does not hold: one sentence that names the part, and `part`, its name."""

    def __init__(self, part: Place, sentence: str) -> None:
        super().__init__(sentence)
        self.part = part


class Part(msgspec.Struct, frozen=True):
    """A part and its place among the parts, from 1."""

    number: int
    name: Name
    content: bytes

    def flaw(self, wrong: str, position: int | None = None) -> BundleFlaw:
        """What is wrong with it; it is or belongs to the event at `position`."""
        of = (
            ""
            if position is None
            else f" {'' if self.name == 'event' else 'of the event '}at position {position}"
        )
        return BundleFlaw(self.name, f"part {self.number}, {self.name}{of}: {wrong}")


class Source(Protocol):
    """A file that is open for reading bytes."""

    def read(self, size: int = ..., /) -> bytes: ...
    def readline(self, size: int = ..., /) -> bytes: ...


def encode_part(name: Name, content: bytes) -> bytes:
    """A part as it stands in a bundle."""
    return b"%b %d %b\n%b\n" % (name.encode(), len(content), sha256(content).hexdigest().encode(), content)


class PartReader:
    """Reads the parts of a bundle one by one; holds one."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._read = 0

    def take(self, *expected: Name) -> Part:
        """The next part, which must have one of these names. Raises `BundleFlaw`, which names the first of
        them where the part does not say what it is."""
        self._read += 1
        line = self._source.readline(_LONGEST_HEAD)
        head = _HEAD.fullmatch(line)
        if head is None:
            wrong = "has no head" if line else "is missing: the bundle ends before it"
            raise BundleFlaw(expected[0], f"part {self._read}, {' or '.join(expected)}, {wrong}")
        name = cast(Name, head[1].decode())
        if name not in expected:
            raise BundleFlaw(
                expected[0],
                f"part {self._read} must be {' or '.join(expected)}, and says that it is {name!r}",
            )
        part = Part(self._read, name, self._content(int(head[2])))
        if len(part.content) < int(head[2]) or self._source.read(1) != b"\n":
            raise part.flaw("it is cut, or not as long as its head says")
        if sha256(part.content).hexdigest().encode() != head[3]:
            raise part.flaw("it is damaged: it does not have the checksum that its head names")
        if line + part.content + b"\n" != encode_part(name, part.content):
            raise part.flaw("it is not encoded as it must be")
        return part

    def end(self) -> None:
        """Raises `BundleFlaw` where anything follows."""
        if self._source.read(1):
            raise BundleFlaw("rest", f"part {self._read}, rest, must be the last one, and bytes follow it")

    def _content(self, length: int) -> bytes:
        """At most `length` bytes; of a length that is too large none."""
        pieces: list[bytes] = []
        wanted = length if length <= MOST_BYTES else 0
        while wanted and (piece := self._source.read(min(wanted, _PIECE))):
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)


def split_prefixed(content: bytes, count: int) -> Sequence[bytes | None]:
    """The `count` pieces of what `length_prefixed` has joined. Raises `ValueError`."""
    pieces: list[bytes | None] = []
    at, end = 0, len(content)
    for _ in range(count):
        begin = at + 4
        if begin > end:
            raise ValueError("it ends too soon")
        (length,) = _LENGTH.unpack_from(content, at)
        if length < -1 or begin + length > end:
            raise ValueError("one of its lengths is none")
        at = begin + max(0, length)
        pieces.append(None if length < 0 else content[begin:at])
    if at != end:
        raise ValueError("more follows than it must have")
    return pieces
