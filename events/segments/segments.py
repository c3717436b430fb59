"""The log, rows and segments together: what every reader of old events asks.

    rows ──── their numbers leave none out ────▶ as they are
      └── some are missing ──▶ segments ──▶ both, in order; what stands in both counts as the row

A page of rows without a gap costs nothing more.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import Final, Protocol, TypeVar

import asyncpg

from events.audit.digests import LogRow
from events.database import Database
from events.event import RecordedEvent
from events.segments.shelf import Shelf
from events.statements import load_statements
from storage.store import Store

_SQL: Final = load_statements("events", "sql/segments.sql")
EVER: Final = 1 << 62
LOOKED: Final = 10_000
"""Rows looked at together for streams that begin there."""
NEIGHBOURS: Final = 128
"""Streams read together."""
FIRST: Final = 64
"""Rows of each that are read at once."""


class Placed(Protocol):
    """What has a place in the log."""

    @property
    def position(self) -> int: ...


class Versioned(Protocol):
    """What has a place in a stream."""

    @property
    def version(self) -> int: ...


P = TypeVar("P", bound=Placed)
V = TypeVar("V", bound=Versioned)
T = TypeVar("T")


class Segments:
    """Over a database and the storage of segments (None: raises where something is in one). Raises as both,
    and `SegmentDamaged`, unless it is `forgiving` (`Shelf`)."""

    def __init__(self, database: Database, store: Store | None, *, forgiving: bool = False) -> None:
        self.shelf = Shelf(database, store, forgiving=forgiving)
        self._database = database

    async def page(
        self,
        rows: Sequence[P],
        make: Callable[[LogRow], P],
        *,
        after: int,
        limit: int,
        upto: int | None = None,
    ) -> list[P]:
        """A page of the log behind a position: `rows` are the next ones, at most `limit`, up to a position or
        to the end. What `make` makes of events takes the place of rows that are missing."""
        end = upto
        if end is None or len(rows) == limit:  # the last event of the log is always a row
            end = rows[-1].position if rows else after
        if end - after == len(rows) and (not rows or rows[0].position > after):
            return list(rows)
        missing = self.shelf.between(after, end)
        return await _merged(rows, missing, make, lambda one: one.position, limit)

    async def stream_page(
        self, stream_id: str, rows: Sequence[V], make: Callable[[LogRow], V], *, after: int, limit: int
    ) -> list[V]:
        """The same of a stream, behind a version. The last event of a stream is always a row."""
        if not rows or rows[-1].version - after == len(rows):
            return list(rows)
        missing = self.shelf.of_stream(stream_id, after, rows[-1].version)
        return await _merged(rows, missing, make, lambda one: one.version, limit)

    async def some_of_stream(
        self,
        stream_id: str,
        rows: Sequence[T],
        make: Callable[[LogRow], T | None],
        place: Callable[[T], int],
        *,
        after: int,
        limit: int,
    ) -> list[T]:
        """The same where `rows` are only those of which `make` makes anything, so that their numbers tell
        nothing; `place` is the version of one."""
        end = place(rows[-1]) if len(rows) == limit else EVER
        missing = self.shelf.of_stream(stream_id, after, end)
        return await _merged(rows, missing, make, place, limit)

    async def at(self, position: int) -> LogRow | None:
        """The event at a position where there is no row; None where no segment has it."""
        async with aclosing(self.shelf.between(position - 1, position)) as found:
            return await anext(found, None)

    async def of_stream(self, stream_id: str, after: int, before: int = EVER) -> AsyncGenerator[LogRow, None]:
        """What only segments have of a stream, between two versions."""
        async for row in self.shelf.of_stream(stream_id, after, before):
            yield row

    async def streams(self, size: int) -> AsyncGenerator[list[RecordedEvent], None]:
        """The whole log, stream by stream, in pages of at most `size`; none that begins meanwhile."""
        page: list[RecordedEvent] = []
        async for event in self.completed(self._rows(size)):
            page.append(event)
            if len(page) == size:
                yield page
                page = []
        if page:
            yield page

    async def completed(
        self, rows: AsyncIterator[Sequence[RecordedEvent]]
    ) -> AsyncGenerator[RecordedEvent, None]:
        """Whole streams, one after the other, of which pages of `rows` may lack some."""
        last = ("", 0)
        async for page in rows:
            gaps = _gaps(page, *last)
            places = await self.shelf.places({event.stream_id for event, after in gaps if after is not None})
            for event, after in gaps:
                if after is not None:
                    known = places.get(event.stream_id)
                    async for moved in self.shelf.recorded(event.stream_id, after, event.version, known):
                        yield moved
                yield event
            last = (page[-1].stream_id, page[-1].version)

    async def _rows(self, size: int) -> AsyncGenerator[list[RecordedEvent], None]:
        """Rows, stream by stream, in the order in which these began: neighbours lie in the same segments."""
        [[head]] = await self._fetch("head")
        at = -EVER
        while (upto := (await self._fetch("looked", at, head, LOOKED))[0][0]) is not None:
            begun = await self._fetch("begun", at, upto)
            at = upto
            for start in range(0, len(begun), NEIGHBOURS):
                ids = [row["stream_id"] for row in begun[start : start + NEIGHBOURS]]
                page: list[RecordedEvent] = []
                for id, beginning in groupby(await self._events("beginnings", ids, FIRST), _stream):
                    page += beginning
                    while len(page) >= FIRST and page[-FIRST].stream_id == id:  # there may be more of it
                        yield page
                        page = await self._events("further", id, page[-1].version, max(size, FIRST))
                if page:
                    yield page

    async def _events(self, statement: str, *arguments: object) -> list[RecordedEvent]:
        return [RecordedEvent(*row) for row in await self._fetch(statement, *arguments)]

    async def _fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async with self._database.reading() as connection:
            return await connection.fetch(_SQL[statement], *arguments)


def _stream(event: RecordedEvent) -> str:
    return event.stream_id


def _gaps(page: Sequence[RecordedEvent], stream: str, version: int) -> list[tuple[RecordedEvent, int | None]]:
    """Each event of a page that follows a version of a stream, and behind which version some are missing
    before it (None: none are)."""
    gaps: list[tuple[RecordedEvent, int | None]] = []
    for event in page:
        if event.stream_id != stream:
            stream, version = event.stream_id, 0
        gaps.append((event, version if event.version > version + 1 else None))
        version = event.version
    return gaps


async def _merged(
    rows: Sequence[T],
    missing: AsyncGenerator[LogRow, None],
    make: Callable[[LogRow], T | None],
    place: Callable[[T], int],
    limit: int,
) -> list[T]:
    merged: list[T] = []
    at = 0
    async with aclosing(missing):
        async for row in missing:
            one = make(row)
            if one is None:
                continue
            while at < len(rows) and place(rows[at]) < place(one):
                merged.append(rows[at])
                at += 1
            if len(merged) >= limit:
                break
            if at == len(rows) or place(rows[at]) != place(one):
                merged.append(one)
    return [*merged, *rows[at:]][:limit]
