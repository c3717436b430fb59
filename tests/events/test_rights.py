"""What the application's login may do to the log: read it, and call three functions."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.events.stage import Stage
from tests.postgres import Database


@pytest.fixture
async def login(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the application's login."""
    connection = await asyncpg.connect(database.app_url)
    yield connection
    await connection.close()


COLUMNS = {
    "events": "data",
    "attachments": "batch_id",
    "incarnations": "reason",
    "schema_migrations": "name",
    "signed_checkpoints": "note",
    "segments": "name",
    "segment_streams": "stream_id",
}


@pytest.mark.parametrize(("table", "column"), COLUMNS.items())
async def test_the_log_cannot_be_written_by_hand(login: asyncpg.Connection, table: str, column: str) -> None:
    await login.fetch(f"SELECT * FROM {table}")
    for statement in (
        f"INSERT INTO {table} DEFAULT VALUES",
        f"UPDATE {table} SET {column} = {column}",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.execute(statement)


async def test_data_keys_are_made_wrapped_and_destroyed_and_nothing_else(login: asyncpg.Connection) -> None:
    for statement in (
        "UPDATE data_keys SET project_id = 'another'",
        "UPDATE data_keys SET id = gen_random_uuid()",
        "DELETE FROM data_keys",
        "TRUNCATE data_keys",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.execute(statement)


@pytest.mark.parametrize(
    "call",
    [
        "insert_event(1, gen_random_uuid(), 's', 't', 'p', '{}', NULL, '{}', NULL, '')",
        "write_board('{}')",
        "prune('{1}', '{}', '', '', 0)",
    ],
)
async def test_the_inner_functions_cannot_be_called(login: asyncpg.Connection, call: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await login.execute(f"SELECT {call}")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "DROP TABLE events",
        "CREATE TABLE events_2 (id integer)",
        "CREATE OR REPLACE FUNCTION lock_log() RETURNS void LANGUAGE sql AS ''",
        "CREATE INDEX ON events (type)",
        "SET ROLE batchmill_owner",
    ],
)
async def test_the_schema_cannot_be_changed(login: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await login.execute(statement)


async def test_a_table_of_the_caller_cannot_stand_in_for_the_log(
    stage: Stage, login: asyncpg.Connection
) -> None:
    await login.execute("CREATE TEMP TABLE events (LIKE public.events)")
    with pytest.raises(asyncpg.PostgresError, match="nothing may be erased"):
        await login.execute("SELECT erase('batch_1', 'file-1')")
    assert await stage.log.head() == 0


async def test_what_can_be_rebuilt_may_be_written(login: asyncpg.Connection) -> None:
    for table in (
        "read_models",
        "batch_work",
        "claims",
        "workers",
        "leaderships",
        "checkpoints",
        "webhook_deliveries",
    ):
        await login.execute(f"DELETE FROM {table}")


async def test_the_logins_time_outs_hold_in_this_database(login: asyncpg.Connection) -> None:
    settings = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    if login.get_server_version().major >= 17:
        settings.append("transaction_timeout")
    for setting in settings:
        assert await login.fetchval("SELECT current_setting($1)", setting) not in ("0", None)


async def test_bodies_are_stored_as_they_come(stage: Stage, login: asyncpg.Connection) -> None:
    storage = await login.fetchval(
        "SELECT attstorage::text FROM pg_attribute WHERE attrelid = 'attachments'::regclass"
        " AND attname = 'body'"
    )
    assert storage == "e"  # EXTERNAL
