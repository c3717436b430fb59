"""What whoever checks the log reads of the database: every column, page by page, in no long transaction."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, cast
from uuid import UUID

import msgspec

from events.audit.ahead import ahead
from events.audit.digests import LogRow
from events.audit.model_check import StoredRow, StreamCheck
from events.audit.naming import Place
from events.batch import BatchCancelled, BatchCompleted, BatchExpired
from events.catalog import decode
from events.database import Connection, Database
from events.encryption.attachments import AttachmentCipher
from events.errors import UnknownEvent
from events.event import Attachment, RecordedEvent
from events.file import FileDeleted, FileExpired
from events.incarnation import Begun
from events.postgres_log import recorded_event
from events.segments.segments import Segments
from events.statements import load_statements
from events.upload import UploadCancelled, UploadCompleted, UploadExpired
from storage.data_key import DataKeys
from storage.store import Store

_SQL: Final = load_statements("events", "sql/evidence.sql")
BODIES: Final = 2
"""Attachments read ahead; one may be as large as an answer may be."""
FACTS: Final = 1000
"""Events of a stream read ahead."""
_CLOSING: Final = (BatchCompleted.__name__, BatchCancelled.__name__, BatchExpired.__name__)
_GONE: Final = tuple(
    type_.__name__ for type_ in (FileDeleted, FileExpired, UploadCompleted, UploadCancelled, UploadExpired)
)


class Body(msgspec.Struct, frozen=True):
    """An attachment as it was recorded."""

    event_id: UUID
    ordinal: int
    salt: bytes
    body: bytes


class CheckpointRow(msgspec.Struct, frozen=True):
    """A signed checkpoint as its row says; its note is what counts."""

    size: int
    root: bytes
    note: str


class Stray(msgspec.Struct, frozen=True):
    """A row that may belong to no event: what it is called, whose it says it is, and whose it is (None: no
    event tells of it). `digest` is that of an attachment that is nobody's."""

    key: str
    stream: str
    owner: str | None
    digest: bytes | None = None

    @property
    def known(self) -> bool:
        """Whether an event tells of it."""
        return self.owner is not None


class Evidence:
    """Over a `Database`, and the storage that old events may be in; every method raises as both. Events of a
    segment that was damaged are left out, and it is kept in `moved`."""

    def __init__(self, database: Database, store: Store | None = None, keys: DataKeys | None = None) -> None:
        self._database = database
        self._cipher = AttachmentCipher(keys)
        self._segments = Segments(database, store, forgiving=True)
        self.moved = self._segments.shelf

    async def rows(self, after: int, upto: int, limit: int) -> list[LogRow]:
        """The next events behind a position, up to another."""
        async with self._database.reading() as connection:
            rows = [LogRow(*row) for row in await connection.fetch(_SQL["rows"], after, upto, limit)]
        return await self._segments.page(rows, lambda row: row, after=max(after, 0), limit=limit, upto=upto)

    def pages(self, after: int, upto: int, size: int) -> AsyncGenerator[list[LogRow], None]:
        """The events behind a position, up to another, in pages; the next one is read while one is used."""
        return ahead(self._pages(after, upto, size))

    async def stream_rows(self, stream_id: str, after: int, limit: int) -> list[LogRow]:
        """The next events of a stream behind a version."""
        async with self._database.reading() as connection:
            found = await connection.fetch(_SQL["stream_rows"], stream_id, after, limit)
        rows = [LogRow(*row) for row in found]
        return await self._segments.stream_page(stream_id, rows, lambda row: row, after=after, limit=limit)

    async def places(self, positions: Sequence[int]) -> dict[int, Place]:
        """Whose the events at these positions are."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["places"], list(positions))
        places = {row["position"]: Place(row["stream_id"], row["version"]) for row in rows}
        for position in set(positions) - places.keys():
            if (row := await self._segments.at(position)) is not None:
                places[position] = Place(row.stream_id, row.version)
        return places

    async def since(self, moment: datetime) -> int:
        """The last position that was recorded before a moment; times go up with positions, but for clocks
        that were set."""
        low, high = 0, cast(int, await self._value("head"))
        while low < high:
            middle = (low + high + 1) // 2
            recorded = cast(datetime | None, await self._value("recorded_from", middle))
            if recorded is not None and recorded < moment:
                low = middle
            else:
                high = middle - 1
        return low

    async def began(self) -> datetime | None:
        """When the first event was recorded."""
        return cast(datetime | None, await self._value("recorded_from", 1))

    async def bodies(self, event_ids: Sequence[UUID]) -> AsyncGenerator[Body, None]:
        """The attachments of these events, by event id and place; not those whose data key was destroyed."""
        async with self._snapshot() as connection:
            async for id, ordinal, salt, body in connection.cursor(
                _SQL["attachments"], list(event_ids), prefetch=BODIES
            ):
                read = await self._cipher.read(id, ordinal, Attachment(body=body, salt=salt))
                if read is not None:
                    yield Body(id, ordinal, read.salt, read.body)

    async def whose(self, stream_id: str, digest: bytes) -> int | None:
        """The position of the event of a stream that has recorded an attachment of this digest."""
        return cast(int | None, await self._value("whose", stream_id, digest))

    async def gone(self, stream_id: str) -> bool:
        """Whether the log says that a file was deleted, or has expired; or that an upload, whose parts go
        with it, has ended."""
        async with self._database.reading() as connection:
            return bool(await connection.fetch(_SQL["types_of"], stream_id, list(_GONE)))

    async def may_be_erased(self, batch_id: str) -> bool:
        """Whether the log says why the attachments of a batch are gone: it ended, and the file that they
        live as long as is gone."""
        async with self._database.reading() as connection:
            ends = await connection.fetch(_SQL["types_of"], batch_id, list(_CLOSING))
        for row in ends:
            try:
                end = decode(row["type"], row["data"])
            except UnknownEvent:
                continue
            if isinstance(end, BatchCompleted | BatchCancelled | BatchExpired):
                file_id = end.output_file_id or end.error_file_id
                return file_id is not None and await self.gone(file_id)
        return False

    async def keys(self, stream_id: str) -> list[str]:
        """The data of every event of a stream of keys that signed."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["types_of"], stream_id, ["AuditKeyAdopted"])
        return [row["data"] for row in rows]

    async def checkpoints(self, incarnation: UUID, after: int, limit: int) -> list[CheckpointRow]:
        """The next signed checkpoints behind a size."""
        return await self._checkpoints("checkpoints", incarnation, after, limit)

    async def newest_checkpoints(self, incarnation: UUID, upto: int, limit: int) -> list[CheckpointRow]:
        """The last signed checkpoints up to a size, the newest first."""
        return await self._checkpoints("newest_checkpoints", incarnation, upto, limit)

    async def incarnations(self) -> list[Begun]:
        """Every incarnation of the log, the newest last."""
        async with self._database.reading() as connection:
            return [Begun(*row) for row in await connection.fetch(_SQL["incarnations"])]

    async def kept_checkpoints(self, sizes: Sequence[int]) -> set[tuple[int, bytes]]:
        """Size and root of the checkpoints of these sizes, of every incarnation."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["kept_checkpoints"], list(sizes))
        return {(row["size"], row["root"]) for row in rows}

    async def checkpoints_around(self, incarnation: UUID, positions: Sequence[int]) -> list[CheckpointRow]:
        """The signed checkpoints around some positions, each once."""
        return await self._checkpoints("checkpoints_around", incarnation, sorted(set(positions)))

    async def ends(self, after: int, upto: int, limit: int) -> tuple[int | None, list[str]]:
        """The streams whose last event is among the next events, and the last position of these; None where
        there are none."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["ends"], after, upto, limit)
        if not rows:
            return None, []
        return rows[-1]["position"], [row["stream_id"] for row in rows if row["stream_id"] is not None]

    async def streams(self, ids: Sequence[str]) -> AsyncGenerator[StreamCheck, None]:
        """Each of these streams, folded beside its row, in one snapshot."""
        async with self._snapshot() as connection:
            rows = await connection.fetch(_SQL["models"], list(ids))
            models = {row["id"]: StoredRow(*row) for row in rows}
            check: StreamCheck | None = None
            cursor = await connection.cursor(_SQL["folded"], list(ids))

            async def pages() -> AsyncGenerator[list[RecordedEvent], None]:
                while page := await cursor.fetch(FACTS):
                    yield [recorded_event(row) for row in page]

            async for event in self._segments.completed(pages()):
                if check is None or check.id != event.stream_id:
                    if check is not None:
                        yield check
                    check = StreamCheck(event.stream_id, models.get(event.stream_id))
                check.add(event)
            if check is not None:
                yield check

    async def stray_models(self, after: str, limit: int) -> list[Stray]:
        """The next rows of read models."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["stray_models"], after, limit)
        return [Stray(row["id"], row["id"], row["id"] if row["known"] else None) for row in rows]

    async def stray_attachments(
        self, after: tuple[UUID, int], limit: int
    ) -> list[tuple[tuple[UUID, int], Stray]]:
        """The next attachments, each with its place."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["stray_attachments"], *after, limit)
        return [
            (
                (row["event_id"], row["ordinal"]),
                Stray(f"{row['event_id']}/{row['ordinal']}", *row[2:]),
            )
            for row in rows
        ]

    async def _pages(self, after: int, upto: int, size: int) -> AsyncGenerator[list[LogRow], None]:
        while page := await self.rows(after, upto, size):
            yield page
            after = page[-1].position

    async def _checkpoints(self, name: str, *arguments: object) -> list[CheckpointRow]:
        async with self._database.reading() as connection:
            return [CheckpointRow(*row) for row in await connection.fetch(_SQL[name], *arguments)]

    async def _value(self, name: str, *arguments: object) -> object:
        async with self._database.reading() as connection:
            return await connection.fetchval(_SQL[name], *arguments)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncGenerator[Connection, None]:
        async with (
            self._database.reading() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection
