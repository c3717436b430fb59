"""The log in Postgres: one function call for each append and each flush (face: `events/log.py`).

What was moved to storage is read as if it were still there (`events/segments/`).
"""

from collections.abc import Mapping, Sequence
from typing import Final, cast
from uuid import UUID

import asyncpg
import msgspec

from events.database import Database
from events.encryption.attachments import AttachmentCipher
from events.errors import VersionConflict
from events.event import Attachment, NewEvent, RecordedEvent
from events.failpoint import at
from events.log import Board, Flush, FlushResult, Incarnation, Leadership, RecordedFlush, Row
from events.segments.segments import Segments
from events.statements import load_statements
from storage.data_key import DataKeys
from storage.store import Store

_SQL: Final = load_statements("events", "sql/log.sql")


class PostgresLog:
    """A `Log` over a `Database`, and the storage that old events may be in: reading raises as `Segments`."""

    def __init__(self, database: Database, store: Store | None = None, keys: DataKeys | None = None) -> None:
        """Without `keys` attachments are not encrypted, and those that are cannot be read."""
        self._database = database
        self._cipher = AttachmentCipher(keys)
        self._segments = Segments(database, store)

    async def append(
        self,
        events: Sequence[NewEvent],
        *,
        expect: Mapping[str, int] | None = None,
        rows: Sequence[Row] = (),
        board: Board | None = None,
        leadership: Leadership | None = None,
    ) -> list[int]:
        """See `Log.append`."""
        expect = expect or {}
        bodies = [
            (e, n, await self._cipher.stored(e.project_id, e.event_id, n, a))
            for e in events
            for n, a in enumerate(e.attachments)
        ]
        await at("append.before")
        try:
            positions = await self._once_more(
                _SQL["append"],
                *_columns(events),
                [e.event_id for e, _, _ in bodies],
                [n for _, n, _ in bodies],
                [e.stream_id for e, _, _ in bodies],
                [a.salt for _, _, a in bodies],
                [a.body for _, _, a in bodies],
                list(expect.keys()),
                list(expect.values()),
                msgspec.json.encode(rows).decode(),
                None if board is None else msgspec.json.encode(board).decode(),
                None if leadership is None else leadership.name,
                None if leadership is None else leadership.token,
            )
        except _Conflict as conflict:
            raise VersionConflict(conflict.stream, expect[conflict.stream], conflict.actual) from None
        await at("append.after")
        return cast(list[int], positions)

    async def flush(self, flushes: Sequence[Flush]) -> list[FlushResult]:
        """See `Log.flush`. Each event carries exactly one attachment."""
        events = [f.event for f in flushes]
        bodies = [await self._cipher.stored(e.project_id, e.event_id, 0, e.attachments[0]) for e in events]
        await at("flush.before")
        results = await self._once_more(
            _SQL["flush"],
            [f.claim_id for f in flushes],
            [f.token for f in flushes],
            [f.bits for f in flushes],
            *_columns(events),
            [body.salt for body in bodies],
            [body.body for body in bodies],
        )
        await at("flush.after")
        return cast(list[FlushResult], results)

    async def erase(self, batch_id: str, file_id: str) -> int:
        """See `Log.erase`."""
        await at("erase.before")
        async with self._database.writing() as connection:
            erased: int = await connection.fetchval(_SQL["erase"], batch_id, file_id)
        await at("erase.after")
        return erased

    async def stream(self, stream_id: str, *, after: int = 0, limit: int = 1000) -> list[RecordedEvent]:
        """See `Log.stream`."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["stream"], stream_id, after, limit)
        events = [recorded_event(row) for row in rows]
        return await self._segments.stream_page(
            stream_id, events, lambda row: row.event, after=after, limit=limit
        )

    async def read(self, *, after: int, limit: int = 1000) -> list[RecordedEvent]:
        """See `Log.read`."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["read"], after, limit)
        events = [recorded_event(row) for row in rows]
        return await self._segments.page(events, lambda row: row.event, after=after, limit=limit)

    async def facts(
        self, batch_id: str, *, after: int = 0, limit: int = 100
    ) -> list[tuple[int, UUID, bytes]]:
        """See `Log.facts`."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["facts"], batch_id, after, limit)
        facts = [(row["version"], row["event_id"], row["lines"]) for row in rows]
        if rows and not rows[0]["moved"]:
            return facts
        return await self._segments.some_of_stream(
            batch_id,
            facts,
            lambda row: None if row.lines is None else (row.version, row.event_id, row.lines),
            lambda fact: fact[0],
            after=after,
            limit=limit,
        )

    async def flushed(self, batch_id: str, version: int) -> RecordedFlush | None:
        """See `Log.flushed`."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(_SQL["flushed"], batch_id, version)
        if row is not None:
            body = await self._read(row)
            return RecordedFlush(row["event_id"], row["lines"], row["attachments"], body)
        async for moved in self._segments.of_stream(batch_id, version - 1, version + 1):
            if moved.lines is not None:
                return RecordedFlush(moved.event_id, moved.lines, moved.attachments or b"", None)
        return None

    async def index_block(self, batch_id: str, group: int, block: int) -> Attachment | None:
        """See `Log.index_block`."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(_SQL["index_block"], batch_id, group, block)
        return await self._read(row)

    async def head(self) -> int:
        """See `Log.head`."""
        async with self._database.reading() as connection:
            return cast(int, await connection.fetchval(_SQL["head"]))

    async def version_at(self, stream_id: str, position: int) -> int:
        """See `Log.version_at`."""
        async with self._database.reading() as connection:
            version = cast(int, await connection.fetchval(_SQL["version_at"], stream_id, position))
        async for moved in self._segments.of_stream(stream_id, version):
            if moved.position > position:
                break
            version = moved.version
        return version

    async def incarnations(self) -> list[Incarnation]:
        """See `Log.incarnations`."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["incarnations"])
        return [Incarnation(row["id"], row["position"]) for row in rows]

    async def _read(self, row: asyncpg.Record | None) -> Attachment | None:
        """The attachment of a row; None where there is none."""
        if row is None or row["body"] is None:
            return None
        stored = Attachment(body=row["body"], salt=row["salt"])
        return await self._cipher.read(row["event_id"], row["ordinal"], stored)

    async def _once_more(self, statement: str, *arguments: object) -> object:
        """Calls a writing function; once more where a call with the same event ids ran at the same time:
        then the ids are found."""
        try:
            return await self._call(statement, *arguments)
        except asyncpg.UniqueViolationError:
            return await self._call(statement, *arguments)

    async def _call(self, statement: str, *arguments: object) -> object:
        async with self._database.writing() as connection:
            try:
                return await connection.fetchval(statement, *arguments)
            except asyncpg.PostgresError as error:
                if error.sqlstate == "BM001":
                    raise _Conflict(str(error).split(" ")[1], int(error.detail or 0)) from error
                raise


class _Conflict(Exception):
    """A version that was not the expected one, before it is known what was expected."""

    def __init__(self, stream: str, actual: int) -> None:
        super().__init__(stream)
        self.stream = stream
        self.actual = actual


def _columns(events: Sequence[NewEvent]) -> tuple[list[object], ...]:
    return (
        [e.event_id for e in events],
        [e.stream_id for e in events],
        [e.project_id for e in events],
        [e.type for e in events],
        [e.data for e in events],
        [e.lines for e in events],
        [e.metadata for e in events],
        [e.attachment_digests for e in events],
        [e.content_digest() for e in events],
    )


def recorded_event(row: asyncpg.Record) -> RecordedEvent:
    """An event from a row that has the columns of the statement `stream`."""
    return RecordedEvent(
        position=row["position"],
        event_id=row["event_id"],
        stream_id=row["stream_id"],
        version=row["version"],
        type=row["type"],
        project_id=row["project_id"],
        data=row["data"],
        metadata=row["metadata"],
        recorded_at=row["recorded_at"],
    )
