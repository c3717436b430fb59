"""Every statement the program runs finds its rows by an index, with many batches and with generic plans."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import pytest_asyncio

import events
from events.database import Connection
from events.database import Database as Pools
from events.log import Row
from events.statements import load_statements
from tests.events.stage import Stage, flush_of
from tests.postgres import Database, PostgresServer

LARGE: Final = {
    "events",
    "attachments",
    "read_models",
    "read_models_copy",
    "webhook_deliveries",
    "signed_checkpoints",
    "segments",
    "segment_streams",
}
"""What grows with every batch ever run; the board and its claims hold the open ones only."""

WHOLE: Final = {"limits", "pause", "forget"}
"""Statements that make the work board again: they concern whole tables, and say so."""

EVENTS: Final = Path(events.__file__).parent
STATEMENTS: Final = {
    f"{file.name}: {name}": sql
    for file in EVENTS.rglob("*.sql")
    for name, sql in load_statements("events", str(file.relative_to(EVENTS))).items()
    if not (file.name == "rebuild_board.sql" and name in WHOLE)
}

FILL: Final = """
INSERT INTO events (position, event_id, stream_id, version, type, project_id, data, lines, metadata,
                    content_digest, digest, recorded_at)
SELECT n, gen_random_uuid(), 'batch_' || n / 10, n % 10 + 1, 'LinesCompleted', 'p' || n % 20, '{}', '', '{}',
       '', '', now()
FROM generate_series(1, 20000) AS n;
INSERT INTO attachments (event_id, ordinal, batch_id, salt, body)
SELECT event_id, 0, stream_id, '', '' FROM events;
INSERT INTO read_models (id, kind, project_id, label, stored, created_at)
SELECT 'batch_' || n, CASE WHEN n % 1000 = 0 THEN 'key' ELSE 'batch' END, 'p' || n % 20, 'label-' || n,
       'objects/' || n, now() + n * interval '1 second'
FROM generate_series(1, 20000) AS n;
INSERT INTO webhook_deliveries (id, endpoint_id, project_id, event_id, type, batch_id, happened_at, state,
                                due_at)
SELECT 'wh_' || n, 'we_' || n % 20, 'p' || n % 20, 'evt_' || n, 'batch.completed', 'batch_' || n, 0,
       CASE WHEN n % 50 = 0 THEN 'pending' ELSE 'delivered' END, CASE WHEN n % 50 = 0 THEN now() END
FROM generate_series(1, 20000) AS n;
INSERT INTO signed_checkpoints (incarnation, size, root, note)
SELECT (SELECT id FROM incarnations LIMIT 1), n, '', '' FROM generate_series(1, 20000) AS n;
INSERT INTO segments (first, positions, name, sha256, bytes)
SELECT 10 * n, int8multirange(int8range(10 * n, 10 * n + 5)), 's', sha256(int8send(n)), 0
FROM generate_series(1, 20000) AS n;
INSERT INTO segment_streams (stream_id, first_version, last_version, segment)
SELECT 'batch_' || n, 1, 9, 10 * n FROM generate_series(1, 20000) AS n;
ANALYZE;
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def full_database(
    postgres_server: PostgresServer, migrated_template: Database
) -> AsyncIterator[Database]:
    """A log of some size."""
    async with postgres_server.new_database(migrated_template.name) as full:
        owner = await asyncpg.connect(full.owner_url)
        await owner.execute(FILL)
        await owner.execute("SELECT begin_copy(NULL, NULL)")
        await owner.execute("INSERT INTO read_models_copy SELECT * FROM read_models")
        await owner.execute("ANALYZE read_models_copy")
        await owner.close()
        yield full


@pytest.fixture
async def full(full_database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Its owner's connection."""
    owner = await asyncpg.connect(full_database.owner_url)
    await owner.execute("SET plan_cache_mode = force_generic_plan")
    yield owner
    await owner.close()


def read_whole(plan: dict[str, Any]) -> set[str]:
    """The tables that a plan reads from end to end."""
    found = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set()
    return found.union(*map(read_whole, plan.get("Plans", ())))


async def test_no_statement_reads_a_large_table_from_end_to_end(full: asyncpg.Connection) -> None:
    offenders = {}
    for name, sql in STATEMENTS.items():
        parameters = max(map(int, re.findall(r"\$(\d+)", sql)), default=0)
        arguments = f"({', '.join(['NULL'] * parameters)})" if parameters else ""
        await full.execute(f"PREPARE tried AS {sql}")
        explained = await full.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE tried{arguments}")
        await full.execute("DEALLOCATE tried")
        offenders[name] = read_whole(json.loads(explained)[0]["Plan"]) & LARGE
    assert {name: tables for name, tables in offenders.items() if tables} == {}


class _OneConnection(Pools):
    """Pools that lend one connection, so that what runs on it can be counted."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        yield self._connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        yield self._connection


async def test_no_function_of_the_log_reads_a_large_table_from_end_to_end(full_database: Database) -> None:
    pools = await Pools.open(full_database.app_url)
    async with pools.writing() as connection, connection.transaction():
        stage = Stage(_OneConnection(connection))
        batch_id = await stage.running_batch(lines=4)
        claim = await stage.claim(batch_id, 4)
        flush = flush_of(claim, [0, 1, 2])
        await stage.log.flush([flush])
        await stage.log.flush([flush])
        output = await stage.file()
        await stage.finalize(batch_id)
        await stage.complete(batch_id, output)
        await stage.delete_file(output)
        await stage.log.erase(batch_id, output)
        await stage.batch(batch_id)
        await stage.log.append((), rows=[Row("file", output, "default", hidden=True)])
        counted = await connection.fetch("SELECT relname, seq_scan FROM pg_stat_xact_user_tables")
    await pools.close()
    assert {row["relname"]: row["seq_scan"] for row in counted if row["relname"] in LARGE} == dict.fromkeys(
        LARGE, 0
    )
