"""Makes the evidence bundle of a batch that has ended, from the log and from the tiles in storage.

The bundle ends with the first checkpoint that covers the end of the batch, and tells what the log held up to
there: so it is the same whenever it is made, until attachments are erased. One event with its attachments is
held at a time, and the tiles for a few dozen.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final
from uuid import UUID

import msgspec

from events.audit.bundle.contents import Head, Kind, encode_event
from events.audit.bundle.outcomes import result_digests
from events.audit.bundle.parts import encode_part
from events.audit.digests import LogRow, attachment_digest, attachment_digests_of, event_digest_of
from events.audit.proof import Node, between
from events.audit.records import AuditRecords, Signed
from events.audit.tile_store import TileStore
from events.batch import (
    LAST_EVENTS,
    BatchCancelled,
    BatchCompleted,
    BatchCreated,
    BatchExpired,
    LinesCompleted,
)
from events.catalog import decode
from events.database import Database
from events.encryption.attachments import AttachmentCipher
from events.errors import BatchmillError, NotFound, Refused
from events.event import Attachment
from events.outcomes.flush_body import INLINE_BYTES
from events.segments.segments import Segments
from events.statements import load_statements
from storage.data_key import DataKeys
from storage.store import Store

_SQL: Final = load_statements("events", "sql/bundle.sql")
PAGE: Final = 32
"""Events whose proofs are read together."""


class StillRuns(Refused):
    """The batch has not ended: there is no more evidence yet than its events."""


class NotSealedYet(Refused):
    """No checkpoint covers the end of the batch yet."""


class LogChanged(BatchmillError):
    """The log holds something else than was recorded: what is made of it would prove nothing."""


class Sealed(msgspec.Struct, frozen=True):
    """A batch that has ended, under the checkpoint that covers its end. `streams` are its own and those of
    its files."""

    batch_id: str
    incarnation: UUID
    streams: Sequence[str]
    signed: Signed


class BundleExport:
    """Over a database and the storage of tiles. Raises as both, and `TileMissing`."""

    def __init__(self, database: Database, store: Store, keys: DataKeys | None = None) -> None:
        self._database = database
        self._cipher = AttachmentCipher(keys)
        self._records = AuditRecords(database, store)
        self._segments = Segments(database, store)
        self._store = store

    async def sealed(self, batch_id: str) -> Sealed:
        """What there is to export. Raises `NotFound`, `StillRuns` or `NotSealedYet`."""
        async with self._database.reading() as connection:
            edges = await connection.fetch(_SQL["edges"], batch_id)
        if not edges or edges[0]["type"] != BatchCreated.__name__:
            raise NotFound(f"there is no batch {batch_id}")
        first, last = sorted(edges, key=lambda edge: edge["version"])
        if last["type"] not in LAST_EVENTS:
            raise StillRuns(f"batch {batch_id} has not ended: evidence is made of batches that have")
        incarnation = await self._records.incarnation()
        signed = await self._records.covering(incarnation, last["position"])
        if signed is None:
            raise NotSealedYet(
                f"no checkpoint covers the end of batch {batch_id} yet: ask again in a few seconds; if it "
                "stays so, look whether the log is sealed (audit_key)"
            )
        created, end = decode(first["type"], first["data"]), decode(last["type"], last["data"])
        assert isinstance(created, BatchCreated)
        files = [] if created.input is None else [created.input_file_id]
        if isinstance(end, BatchCompleted | BatchCancelled | BatchExpired):
            files += [file for file in (end.output_file_id, end.error_file_id) if file is not None]
        return Sealed(batch_id, incarnation, [batch_id, *files], signed)

    async def pieces(self, sealed: Sealed, kind: Kind) -> AsyncGenerator[bytes, None]:
        """The bundle, part by part. Raises `LogChanged`."""
        yield encode_part("bundle", Head(sealed.incarnation, sealed.batch_id, kind).encode())
        yield encode_part("checkpoint", sealed.signed.note.encode().encode())
        tiles = TileStore(self._store, sealed.incarnation)
        size = sealed.signed.checkpoint.size
        leaves = 0
        async for rows in self._pages(sealed):
            gaps = []
            for row in rows:
                gaps.append(between(leaves, row.position - 1))
                leaves = row.position
            hashes = await _hashes(tiles, gaps, size)
            for row, gap in zip(rows, hashes, strict=True):
                if event_digest_of(row) != row.digest:
                    raise LogChanged(
                        f"the event at position {row.position} does not have the digest that was recorded: "
                        "`batchmill audit verify` tells more"
                    )
                yield encode_part("event", encode_event(row))
                yield encode_part("hashes", gap)
                async for piece in self._attachments(row, kind):
                    yield piece
        [rest] = await _hashes(tiles, [between(leaves, size)], size)
        yield encode_part("rest", rest)

    async def _pages(self, sealed: Sealed) -> AsyncIterator[list[LogRow]]:
        """The events of all streams, by position."""
        streams = [self._stream(stream, sealed.signed.checkpoint.size) for stream in sealed.streams]
        heads = [(await anext(stream, None), stream) for stream in streams]
        page: list[LogRow] = []
        while waiting := [(row.position, at) for at, (row, _) in enumerate(heads) if row is not None]:
            _, at = min(waiting)
            row, stream = heads[at]
            assert row is not None
            page.append(row)
            heads[at] = (await anext(stream, None), stream)
            if len(page) == PAGE:
                yield page
                page = []
        if page:
            yield page

    async def _stream(self, stream_id: str, upto: int) -> AsyncIterator[LogRow]:
        version = 0
        while True:
            async with self._database.reading() as connection:
                found = await connection.fetch(_SQL["rows"], stream_id, version, upto, PAGE)
            rows = await self._segments.stream_page(
                stream_id, [LogRow(*row) for row in found], lambda row: row, after=version, limit=PAGE
            )
            for row in rows:
                yield row
            if len(rows) < PAGE:
                return
            version = rows[-1].version

    async def _attachments(self, row: LogRow, kind: Kind) -> AsyncIterator[bytes]:
        flush = row.type == LinesCompleted.__name__
        if kind == "digests" and not flush:
            return
        for ordinal, digest in enumerate(attachment_digests_of(row)):
            async with self._database.reading() as connection:
                found = await connection.fetchrow(_SQL["attachment"], row.event_id, ordinal)
            stored = None if found is None else Attachment(body=found["body"], salt=found["salt"])
            read = None if stored is None else await self._cipher.read(row.event_id, ordinal, stored)
            if read is None:
                yield encode_part("erased", b"")
                continue
            job = (row, ordinal, digest, read.salt, read.body, kind)
            if len(read.body) > INLINE_BYTES:
                yield await asyncio.to_thread(_encoded, *job)
            else:
                yield _encoded(*job)


def _encoded(row: LogRow, ordinal: int, digest: bytes, salt: bytes, body: bytes, kind: Kind) -> bytes:
    """The parts of one attachment."""
    if attachment_digest(salt, body) != digest:
        raise LogChanged(
            f"attachment {ordinal} of the event at position {row.position} does not have the digest that was "
            "recorded: `batchmill audit verify` tells more"
        )
    parts = [encode_part("salt", salt)]
    if row.type == LinesCompleted.__name__:
        try:
            digests = result_digests(row.lines or b"", salt, body)
        except ValueError as error:
            raise LogChanged(f"the event at position {row.position} has other results: {error}") from error
        parts.append(encode_part("digests", b"".join(digests)))
    if kind == "bodies":
        parts.append(encode_part("body", body))
    return b"".join(parts)


async def _hashes(tiles: TileStore, gaps: Sequence[Sequence[Node]], size: int) -> list[bytes]:
    """The hashes of each gap, side by side."""
    nodes = [node for gap in gaps for node in gap]
    found = iter(await tiles.hashes(nodes, size))
    return [b"".join(next(found) for _ in gap) for gap in gaps]
