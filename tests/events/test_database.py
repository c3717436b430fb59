"""Connections: every wait ends, and what the database says in the course of things is one of our errors."""

import asyncio

import asyncpg
import pytest

from events.database import Database as Pools
from events.database import errors_as_ours, place_of, single_connection
from events.errors import BatchmillError, DatabaseUnavailable, EventMismatch, LeadershipLost, LogBusy
from tests.events.proxy import proxy_to
from tests.events.stage import Stage, open_stage
from tests.postgres import Database


async def test_a_call_that_finds_no_connection_in_time_says_that_the_database_is_overloaded(
    database: Database,
) -> None:
    pools = await Pools.open(database.app_url, connections=2, patience=0.05)
    async with pools.writing():
        with pytest.raises(LogBusy, match="no database connection was free"):
            async with pools.writing():
                pass
        async with pools.reading() as connection:
            assert await connection.fetchval("SELECT 1") == 1
    await pools.close()


async def test_a_statement_that_takes_too_long_ends_on_our_side_and_the_pool_lives_on(
    database: Database,
) -> None:
    pools = await Pools.open(database.app_url, connections=2, statement_timeout=0.1)
    with pytest.raises(LogBusy, match="safe to repeat"):
        async with pools.reading() as connection:
            await connection.fetchval("SELECT pg_sleep(30)")
    async with pools.reading() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await pools.close()


async def test_a_server_that_takes_no_more_connections_is_used_by_those_there_are(
    empty_database: Database,
) -> None:
    pools = await Pools.open(empty_database.app_url, connections=4)
    superuser = await asyncpg.connect(empty_database.superuser_url)
    await superuser.execute(f"ALTER DATABASE {empty_database.name} CONNECTION LIMIT 1")
    await superuser.close()

    async def ask() -> object:
        async with pools.reading() as connection:
            return await connection.fetchval("SELECT 1")

    async with pools.reading():
        asking = asyncio.create_task(ask())
        await asyncio.wait({asking}, timeout=0.3)
    assert await asking == 1
    await pools.close()


async def test_a_cut_connection_is_said_and_replaced(database: Database) -> None:
    async with proxy_to(database.app_url) as proxy, open_stage(proxy.url, connections=2) as stage:
        assert await stage.log.head() == 0
        proxy.cut_next("answer")
        with pytest.raises(DatabaseUnavailable):
            await stage.log.head()
        assert await stage.log.head() == 0


async def test_a_server_that_turned_read_only_is_left_for_a_fresh_connection(
    database: Database,
) -> None:
    async with open_stage(database.app_url, connections=2) as stage:
        async with stage.database.writing() as connection:
            await connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            await stage.new_batch()
        await stage.new_batch()


async def test_a_server_that_ends_our_sessions_is_unavailable_for_the_moment_only(
    database: Database, stage: Stage
) -> None:
    await stage.new_batch()
    superuser = await asyncpg.connect(database.superuser_url)
    await superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await superuser.close()
    for _ in range(4):
        try:
            await stage.log.head()
            break
        except DatabaseUnavailable:
            continue
    assert await stage.log.head() == 1


async def test_a_cancelled_call_gives_its_connection_back(database: Database) -> None:
    pools = await Pools.open(database.app_url, connections=2)

    async def sleep() -> None:
        async with pools.reading() as connection:
            asleep.set()
            await connection.fetchval("SELECT pg_sleep(30)")

    asleep = asyncio.Event()
    sleeping = asyncio.create_task(sleep())
    await asleep.wait()
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    async with pools.reading() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await pools.close()


async def test_a_call_is_cancelled_also_while_nothing_comes_through(database: Database) -> None:
    async with (
        proxy_to(database.app_url) as proxy,
        open_stage(proxy.url, connections=2, patience=0.2) as stage,
    ):
        assert await stage.log.head() == 0
        stalled = proxy.stall_next_call()
        calling = asyncio.create_task(stage.log.head())
        await stalled.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert await stage.log.head() == 0


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("BM002", LeadershipLost),
        ("BM003", EventMismatch),
        ("BM004", BatchmillError),
        ("55P03", LogBusy),
        ("57014", LogBusy),
        ("57P01", DatabaseUnavailable),
        ("25006", DatabaseUnavailable),
        ("25P03", DatabaseUnavailable),
        ("25P04", DatabaseUnavailable),
        ("53100", DatabaseUnavailable),
        ("53200", DatabaseUnavailable),
        ("53300", DatabaseUnavailable),
        ("57P05", DatabaseUnavailable),
        ("58030", DatabaseUnavailable),
        ("40P01", asyncpg.DeadlockDetectedError),
        ("40001", asyncpg.SerializationError),
        ("42703", asyncpg.UndefinedColumnError),
    ],
)
async def test_what_is_foreseen_is_ours_and_a_defect_stays_what_it_is(
    database: Database, state: str, expected: type[Exception]
) -> None:
    connection = await single_connection(database.app_url)
    with pytest.raises(expected), errors_as_ours():
        await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'told to' USING ERRCODE = '{state}'; END $$")
    await connection.close()


async def test_a_database_that_is_not_there_is_unavailable(database: Database) -> None:
    nowhere = database.app_url.replace(database.name, "batchmill_nowhere")
    for opening in (Pools.open(nowhere), single_connection(nowhere)):
        with pytest.raises(DatabaseUnavailable, match="cannot connect to database 'batchmill_nowhere' at "):
            await opening


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://bm:s3cret@db.example:5432/mill", "database 'mill' at db.example:5432"),
        ("postgresql://bm:s3@cret@db.example/mill", "database 'mill' at db.example"),
        ("postgresql://a,b/mill?password=s3cret", "database 'mill' at a,b"),
        ("postgresql:///mill?host=/run/postgresql&user=bm", "database 'mill' at /run/postgresql"),
        ("postgresql://bm:123/s3cret@db.example/mill", "the database"),
        ("postgresql://bm:123?s3cret@db.example/mill", "the database"),
    ],
)
def test_messages_name_a_database_and_never_its_password(url: str, place: str) -> None:
    assert place_of(url) == place


async def test_an_append_asks_the_server_nothing_else(stage: Stage) -> None:
    asked: list[str] = []
    async with stage.database.writing() as connection:
        connection.add_query_logger(lambda query: asked.append(query.query))
    await stage.new_batch()
    assert ["SELECT append(" in query for query in asked] == [True]
