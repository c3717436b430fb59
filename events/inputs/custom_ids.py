"""Finds requests that carry the custom_id of an earlier one, among any number of lines in flat memory.

Each line leaves a record of 32 bytes: a keyed hash of its custom_id and the line's place in the file. When
the records outgrow their share of memory they go to a temporary file, parted by the first byte of the hash,
so that twins always meet in the same part. At the end each part is sorted, and equal hashes lie side by
side. The key is drawn for each run, so nobody can prepare a file whose hashes collide; still the texts
decide: they are read again where the hashes point.
"""

import functools
import hashlib
import heapq
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Final, NamedTuple, Self

PARTS: Final = 256
"""At 10 million lines one part is 1.25 MB of records, three times that while it is sorted."""
MEMORY_BYTES: Final = 8 << 20
"""Records held before they are spilled: those of 262,144 lines, so that a usual batch never is."""
_HASH_BYTES: Final = 16
_PLACE: Final = struct.Struct(">QII")  # big-endian, so that records sort by hash, then by place
_RECORD_BYTES: Final = _HASH_BYTES + _PLACE.size


class Place(NamedTuple):
    """Where a line lies in the input file: its first byte, its length in bytes, its number from 1.

    Length and number are below 2**32.
    """

    start: int
    length: int
    number: int


class Twin(NamedTuple):
    """A line whose custom_id an earlier line has."""

    place: Place
    custom_id: str


class CustomIds:
    """The custom_ids of one input file, added line by line. A context: leaving it drops its file.

    Over `memory_bytes` of records it writes to a file in `spill_folder`, made when missing; the file has no
    name and vanishes with the process.
    """

    def __init__(self, spill_folder: Path, memory_bytes: int = MEMORY_BYTES) -> None:
        self._spill_folder = spill_folder
        self._most_records = max(1, memory_bytes // _RECORD_BYTES)
        self._hash = hashlib.blake2b(key=secrets.token_bytes(32), digest_size=_HASH_BYTES)
        self._parts = [bytearray() for _ in range(PARTS)]
        self._held = 0
        self._spilled: IO[bytes] | None = None
        self._extents: list[list[tuple[int, int]]] = [[] for _ in range(PARTS)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spilled is not None:
            self._spilled.close()

    def add(self, custom_id: str, start: int, length: int, number: int) -> None:
        """Notes that the line at this `Place` has this custom_id. Raises `OSError` when it cannot spill."""
        hashed = self._hash.copy()
        hashed.update(custom_id.encode("utf-8", "surrogatepass"))
        digest = hashed.digest()
        self._parts[digest[0]] += digest + _PLACE.pack(start, length, number)
        self._held += 1
        if self._held >= self._most_records:
            self._spill()

    def twins(self, limit: int, custom_id_at: Callable[[Place], str]) -> list[Twin]:
        """The first `limit` lines, in the order of the file, whose custom_id an earlier line has.

        `custom_id_at` reads the custom_id of a line again; it is called at most twice for each of them.
        """
        read_once = functools.cache(custom_id_at)
        return [
            Twin(place, read_once(place))
            for place, first in self._suspects(limit)
            if read_once(place) == read_once(first)
        ]

    def _suspects(self, limit: int) -> list[tuple[Place, Place]]:
        """The first `limit` places whose hash an earlier place has, each with the first such place."""
        return heapq.nsmallest(limit, (pair for part in self._filled() for pair in self._repeated(part)))

    def _filled(self) -> list[int]:
        return [part for part in range(PARTS) if self._parts[part] or self._extents[part]]

    def _repeated(self, part: int) -> Iterator[tuple[Place, Place]]:
        digest: bytes | None = None
        first = b""
        for record in self._records(part):
            if record[:_HASH_BYTES] == digest:
                yield _place(record), _place(first)
            else:
                digest, first = record[:_HASH_BYTES], record

    def _records(self, part: int) -> list[bytes]:
        found: list[bytes] = []
        for block in self._blocks(part):
            found += [block[at : at + _RECORD_BYTES] for at in range(0, len(block), _RECORD_BYTES)]
        found.sort()
        return found

    def _blocks(self, part: int) -> Iterator[bytes]:
        yield bytes(self._parts[part])
        if self._spilled is not None:
            for start, length in self._extents[part]:
                self._spilled.seek(start)
                yield self._spilled.read(length)

    def _spill(self) -> None:
        if self._spilled is None:
            self._spill_folder.mkdir(parents=True, exist_ok=True)
            self._spilled = TemporaryFile(dir=self._spill_folder)  # noqa: SIM115 - closed on leaving
        start = self._spilled.seek(0, os.SEEK_END)
        for part, extents in zip(self._parts, self._extents, strict=True):
            if part:
                self._spilled.write(part)
                extents.append((start, len(part)))
                start += len(part)
                part.clear()
        self._held = 0


def _place(record: bytes) -> Place:
    return Place(*_PLACE.unpack_from(record, _HASH_BYTES))
