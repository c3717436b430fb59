"""Finds segments by the index that the database has of them, and opens them in storage.

A few are held open, so that whoever reads on meets the one it has just read from. One holds at most some MB.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from hashlib import sha256
from heapq import merge
from typing import Final, NamedTuple, TypeVar

import asyncpg
import msgspec

from events.audit.bundle.contents import decode_event, decode_recorded
from events.audit.digests import LogRow
from events.database import Database
from events.errors import BatchmillError
from events.event import RecordedEvent
from events.segments.encoding import encoded_events, stream_of
from events.statements import load_statements
from storage.store import ObjectMissing, Store

OPEN: Final = 16
"""Segments held open."""
FOUND: Final = 8
"""Segments looked up together."""
_SQL: Final = load_statements("events", "sql/segments.sql")
E = TypeVar("E", LogRow, RecordedEvent)


class Segment(msgspec.Struct, frozen=True):
    """What the index says of a segment: its first position; where its runs of positions begin and,
    exclusively, end; its name in storage, its digest and its size there."""

    first: int
    begins: list[int]
    ends: list[int]
    name: str
    sha256: bytes
    bytes_: int

    @property
    def last(self) -> int:
        """Its last position."""
        return max([self.first, *(end - 1 for end in self.ends)])

    @property
    def events(self) -> int:
        """How many it has."""
        return sum(max(0, end - begin) for begin, end in zip(self.begins, self.ends, strict=True))

    def positions(self, after: int, upto: int) -> list[int]:
        """Those that it has behind a position, up to another."""
        return [
            position
            for begin, end in zip(self.begins, self.ends, strict=True)
            if end > after and begin <= upto
            for position in range(max(begin, after + 1), min(end, upto + 1))
        ]


class StreamPlace(NamedTuple):
    """A segment that has events of a stream, and the first and last version of these."""

    segment: Segment
    first: int
    last: int


class SegmentDamaged(BatchmillError):
    """A segment is not in storage, or not what was put there; `found` is the digest of what is (None: nothing
    is)."""

    def __init__(self, segment: Segment, found: bytes | None, how: str) -> None:
        super().__init__(
            f"the segment {segment.first} to {segment.last} of the log, {segment.name} in storage, {how}: "
            "take it from a backup of the storage; `batchmill audit verify` tells more"
        )
        self.segment = segment
        self.found = found


class Opened:
    """The events of a segment, decoded when they are asked for. Raises `SegmentDamaged`."""

    def __init__(self, segment: Segment, stored: bytes) -> None:
        """`stored` is what storage has of it."""
        self._segment = segment
        self._found = sha256(stored).digest()
        if self._found != segment.sha256:
            raise self._damaged("has another digest than was recorded")
        try:
            self._events = encoded_events(stored)
            self._streams: dict[str, list[int]] = {}
            for position, event in self._events.items():
                self._streams.setdefault(stream_of(event), []).append(position)
        except ValueError as error:
            raise self._damaged(f"is none: {error}") from error
        positions = [*self._events]
        if len(positions) != segment.events or positions != segment.positions(-1, segment.last):
            raise self._damaged("has other events than the database says")

    def at(self, position: int, decode: Callable[[bytes], E]) -> E:
        """The event at one of its positions."""
        try:
            return decode(self._events[position])
        except ValueError as error:
            raise self._damaged(f"is none: {error}") from error

    def of_stream(self, stream_id: str, decode: Callable[[bytes], E]) -> list[E]:
        """The events of a stream, in their order."""
        return [self.at(position, decode) for position in self._streams.get(stream_id, ())]

    def _damaged(self, how: str) -> SegmentDamaged:
        return SegmentDamaged(self._segment, self._found, how)


class Shelf:
    """Over a database, and the storage of segments (None: it is not at hand). Raises as both, and
    `SegmentDamaged`; one that is `forgiving` leaves events of damaged segments out, and keeps what is
    `damaged`."""

    def __init__(self, database: Database, store: Store | None, *, forgiving: bool = False) -> None:
        self.damaged: dict[int, SegmentDamaged] = {}
        self.lacking: set[str] = set()
        """Streams that were asked for, and of which some events are in these."""
        self._database = database
        self._store = store
        self._forgiving = forgiving
        self._open: OrderedDict[int, Opened] = OrderedDict()

    async def between(self, after: int, upto: int) -> AsyncGenerator[LogRow, None]:
        """Events of segments behind a position, up to another, in their order."""
        while after < upto:
            segments = [Segment(*row) for row in await self._find("from_position", after + 1, upto, FOUND)]
            following = [segment.first for segment in segments if segment.first > after]
            # Whatever was not found begins behind the last one that was.
            known = following[-1] if len(following) == FOUND else upto
            places = [
                [(position, at) for position in segment.positions(after, known)]
                for at, segment in enumerate(segments)
            ]
            for position, at in merge(*places):
                for row in await self._events(segments[at], position, decode_event):
                    yield row
            after = known

    async def places(self, stream_ids: Collection[str]) -> dict[str, list[StreamPlace]]:
        """Which segments have events of these streams; without those that are in many."""
        if not stream_ids:
            return {}
        found: dict[str, list[StreamPlace]] = {stream_id: [] for stream_id in stream_ids}
        for row in await self._find("of_streams", [*stream_ids], FOUND):
            found[row["id"]].append(_place(row))
        return {stream_id: places for stream_id, places in found.items() if len(places) < FOUND}

    def of_stream(self, stream_id: str, after: int, before: int) -> AsyncGenerator[LogRow, None]:
        """Events of a stream that segments have, with versions between two, in their order."""
        return self._of_stream(stream_id, after, before, decode_event)

    def recorded(
        self, stream_id: str, after: int, before: int, places: Sequence[StreamPlace] | None
    ) -> AsyncGenerator[RecordedEvent, None]:
        """The same for folds; `places` as they were looked up after these events were found missing, if they
        were."""
        return self._of_stream(stream_id, after, before, decode_recorded, places)

    async def _of_stream(
        self,
        stream_id: str,
        after: int,
        before: int,
        decode: Callable[[bytes], E],
        places: Sequence[StreamPlace] | None = None,
    ) -> AsyncGenerator[E, None]:
        while found := (await self._places(stream_id, after, before) if places is None else places):
            for segment, first, last in found:
                if last <= after or first >= before:
                    continue
                for event in await self._events(segment, stream_id, decode):
                    if after < event.version < before:
                        yield event
                if segment.first in self.damaged:
                    self.lacking.add(stream_id)
                after = last
            if len(found) < FOUND:
                return

    def lost(self, after: int, upto: int) -> set[int]:
        """Positions behind one, up to another, whose events are in damaged segments."""
        return {
            position for damage in self.damaged.values() for position in damage.segment.positions(after, upto)
        }

    async def with_digest(self, digest: bytes) -> int | None:
        """The first position of the segment whose object has this digest."""
        found = await self._find("with_digest", digest)
        return found[0]["first"] if found else None

    async def _events(self, segment: Segment, which: int | str, decode: Callable[[bytes], E]) -> list[E]:
        """The event of a segment at a position, or those of a stream."""
        if segment.first in self.damaged:
            return []
        try:
            opened = await self._opened(segment)
            if isinstance(which, int):
                return [opened.at(which, decode)]
            return opened.of_stream(which, decode)
        except SegmentDamaged as damage:
            if not self._forgiving:
                raise
            self.damaged[segment.first] = damage
            return []

    async def _opened(self, segment: Segment) -> Opened:
        opened = self._open.get(segment.first)
        if opened is None:
            opened = self._open[segment.first] = await self._read(segment)
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(segment.first)
        return opened

    async def _read(self, segment: Segment) -> Opened:
        if self._store is None:
            raise BatchmillError(
                f"events of {segment.first} to {segment.last} were moved to storage, which is not at hand"
            )
        try:
            stored = await self._store.read(segment.name, 0, segment.bytes_ + 1)
        except ObjectMissing:
            raise SegmentDamaged(segment, None, "is not there") from None
        if len(stored) > segment.bytes_:
            raise SegmentDamaged(segment, await self._digest(segment.name), "is longer than was recorded")
        return await asyncio.to_thread(Opened, segment, stored)

    async def _digest(self, name: str) -> bytes:
        assert self._store is not None
        digest = sha256()
        async for piece in self._store.get(name):
            digest.update(piece)
        return digest.digest()

    async def _places(self, stream_id: str, after: int, before: int) -> list[StreamPlace]:
        return [_place(row) for row in await self._find("of_stream", stream_id, after, before, FOUND)]

    async def _find(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async with self._database.reading() as connection:
            return await connection.fetch(_SQL[statement], *arguments)


def _place(row: asyncpg.Record) -> StreamPlace:
    return StreamPlace(Segment(*row[:6]), row["first_version"], row["last_version"])
