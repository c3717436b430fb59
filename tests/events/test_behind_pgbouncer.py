"""Nothing is kept in a session of the database, so that a bouncer may give each transaction another one.

What the log, the read models and the work board promise is held through it in their own modules.
"""

import asyncio

import asyncpg
import pytest

from cli.embedded.postgres import LOGIN, OWNER
from events.database import single_connection
from events.migrate import migrate, migrations, require_schema
from events.rebuild import rebuild
from events.rebuild_board import rebuild_board
from tests.events.stage import flush_of, open_stage
from tests.pgbouncer import SESSIONS, Bouncer
from tests.postgres import Database

NAMES = [migration.name for migration in migrations()]
LOCKS = """
    SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
KEPT = "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"
LEFT = """
    SELECT (SELECT count(*) FROM pg_prepared_statements WHERE name <> ''),
           current_setting('statement_timeout'), current_setting('lock_timeout')
    FROM pg_sleep(0.1)
"""


@pytest.fixture
def bounced(empty_database: Database, bouncer: Bouncer) -> Database:
    """A database that was not migrated yet, behind the bouncer."""
    return bouncer.before(empty_database)


async def left_in_sessions(url: str) -> set[tuple[object, ...]]:
    """What the sessions that a bouncer has for a login hold: prepared statements, and two settings."""

    async def left_in_one() -> tuple[object, ...]:
        connection = await single_connection(url)
        try:
            return tuple(await connection.fetchrow(LEFT) or ())
        finally:
            await connection.close()

    return set(await asyncio.gather(*(left_in_one() for _ in range(2 * SESSIONS))))


async def test_many_processes_migrate_at_once_and_leave_nothing_in_a_session(bounced: Database) -> None:
    superuser = await asyncpg.connect(bounced.superuser_url)
    try:
        for setting in ("statement_timeout = '29s'", "lock_timeout = '4s'"):
            await superuser.execute(f"ALTER ROLE {OWNER} IN DATABASE {bounced.name} SET {setting}")
        applied = await asyncio.gather(*(migrate(bounced.owner_url, LOGIN) for _ in range(2 * SESSIONS)))
        assert sorted(name for names in applied for name in names) == NAMES
        assert await left_in_sessions(bounced.owner_url) == {(0, "29s", "4s")}
        assert await superuser.fetchval(LOCKS) == 0
    finally:
        await superuser.close()


async def test_the_application_has_its_time_outs(bounced: Database) -> None:
    await migrate(bounced.owner_url, LOGIN)
    await require_schema(bounced.app_url)
    assert await left_in_sessions(bounced.app_url) == {(0, "30s", "5s")}


async def test_a_log_is_folded_again_and_again(bounced: Database) -> None:
    await migrate(bounced.owner_url, LOGIN)
    async with open_stage(bounced.app_url) as stage:
        for _ in range(3):
            batch_id = await stage.running_batch(lines=8)
            claim = await stage.claim(batch_id, 4)
            assert await stage.log.flush([flush_of(claim, [0, 1])]) == ["recorded"]
        made = [await rebuild(bounced.app_url) for _ in range(2 * SESSIONS)]
        boards = [await rebuild_board(bounced.app_url) for _ in range(2 * SESSIONS)]
    assert {each.batches for each in made} == {each.batches for each in boards} == {3}
    assert await left_in_sessions(bounced.app_url) == {(0, "30s", "5s")}


async def test_statements_are_kept_only_in_sessions_of_ones_own(
    bounced: Database, database: Database
) -> None:
    """Two clients give their statements the same names: one would run what the other has prepared."""
    await migrate(bounced.owner_url, LOGIN)
    async with open_stage(bounced.app_url, connections=4 * SESSIONS) as stage:
        for _ in range(20):
            await asyncio.gather(*(stage.board.open_batches() for _ in range(2 * SESSIONS)))
    assert await left_in_sessions(bounced.app_url) == {(0, "30s", "5s")}
    async with open_stage(database.app_url) as stage:
        await stage.board.open_batches()
        async with stage.database.reading() as connection:
            assert await connection.fetchval(KEPT) > 0
