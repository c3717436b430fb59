"""A sealed log whose old batches were moved to storage, and what everybody reads of it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import asyncpg

from engine.audit.pruner import Pruned
from engine.audit.pruner import prune as move
from events.audit.digests import LogRow
from events.audit.evidence import Evidence
from events.audit.records import AuditRecords
from events.audit.replay import Replay
from events.catalog import kind_of
from events.database import Database as OpenDatabase
from events.postgres_log import PostgresLog
from events.read_models import ReadModels, model_write
from storage.local_folder import LocalFolder
from tests.engine.audit.mill import KEY
from tests.postgres import Database

MOST: Final = 4
"""Events in a segment: so few that a batch has several."""


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[tuple[OpenDatabase, LocalFolder]]:
    """Connections and a storage of their own."""
    database, store = await OpenDatabase.open(url, connections=4), LocalFolder(folder)
    try:
        yield database, store
    finally:
        await store.close()
        await database.close()


async def prune(
    database: Database, folder: Path, *, older_than: timedelta = timedelta(), dry: bool = False
) -> Pruned:
    """What the command does, with small segments."""
    async with opened(database.owner_url, folder) as (connections, store):
        return await move(connections, store, [KEY.public], older_than, dry=dry, most=MOST)


async def project_all(database: Database, folder: Path) -> None:
    """Moves every row forward, as the projector does."""
    async with opened(database.app_url, folder) as (connections, store):
        models = ReadModels(connections)
        log = PostgresLog(connections, store)
        for stream in {event.stream_id for event in await log.read(after=0, limit=10_000)}:
            kind = kind_of(stream)
            assert kind is not None
            if (seen := await models.find(kind, stream)) is not None:
                await models.advance([model_write(seen)])


async def everything(database: Database, folder: Path, *, page: int = 1000) -> list[object]:
    """All that anybody reads of the log, in pages."""
    async with opened(database.app_url, folder) as (connections, store):
        log, records = PostgresLog(connections, store), AuditRecords(connections, store)
        evidence = Evidence(connections, store)
        read: list[object] = []
        after = 0
        while events := await log.read(after=after, limit=page):
            read += events
            after = events[-1].position
        after = 1
        while leaves := await records.leaves(after, page):
            read += leaves
            after = leaves[-1].position + 1
        read += [row async for rows in evidence.pages(0, after, page) for row in rows]
        rows = [row for row in read if isinstance(row, LogRow)]
        streams = sorted({row.stream_id for row in rows})
        for stream in streams:
            read += await _stream(log, records, evidence, stream, page)
        read += [await records.leaf_at(row.position) for row in rows]
        read += [(check.id, check.state, check.gaps) async for check in evidence.streams(streams)]
        read += [await log.version_at(row.stream_id, row.position) for row in rows]
        read.append(await evidence.places([row.position for row in rows]))
        return read


async def _stream(
    log: PostgresLog, records: AuditRecords, evidence: Evidence, stream: str, page: int
) -> Sequence[object]:
    read: list[object] = []
    after = 0
    while events := await log.stream(stream, after=after, limit=page):
        read += events
        after = events[-1].version
    after = 0
    while leaves := await records.leaves_of(stream, after=after, limit=page):
        read += leaves
        after = leaves[-1].version
    after = 0
    while rows := await evidence.stream_rows(stream, after, page):
        read += rows
        after = rows[-1].version
    after = 0
    while facts := await log.facts(stream, after=after, limit=page):
        read += [*facts, *[await log.flushed(stream, version) for version, _, _ in facts]]
        after = facts[-1][0]
    return read


async def fetch(database: Database, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """As somebody who takes the triggers out of the way as well."""
    connection = await asyncpg.connect(
        database.superuser_url, server_settings={"session_replication_role": "replica"}
    )
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


async def kinds(database: Database) -> dict[str, int]:
    """How many events of each type are rows."""
    rows = await fetch(database, "SELECT type, count(*) FROM events GROUP BY type")
    return {row["type"]: row["count"] for row in rows}


async def replayed(database: Database, folder: Path) -> int:
    """How many differences a replay finds."""
    async with opened(database.app_url, folder) as (connections, store):
        return (await Replay(connections, store, hashed=True, page=50).run()).different


async def first_moved(database: Database) -> tuple[str, int, int]:
    """Of a stream the versions around the first one that was moved."""
    [row, *_] = await fetch(database, "SELECT stream_id, first_version FROM segment_streams ORDER BY 1, 2")
    return row["stream_id"], row["first_version"] - 1, row["first_version"] + 1
