"""Migrations: once each, whoever starts at the same time, and never under a program that cannot use them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from cli.embedded.postgres import LOGIN, OWNER
from events import migrate as migrating
from events.errors import DatabaseUnavailable, LogBusy, SchemaRefused
from events.file import File
from events.migrate import ROLE, Migration, migrate, migrations, require_schema
from tests.events.stage import PROJECT, open_stage
from tests.postgres import Database, PostgresServer

NAMES = [migration.name for migration in migrations()]


@pytest.fixture
async def database(postgres_server: PostgresServer, migrated_template: Database) -> AsyncIterator[Database]:
    """A migrated database whose schema a test may spoil."""
    async with postgres_server.new_database(migrated_template.name) as fresh:
        yield fresh


def test_migrations_are_numbered_without_a_gap_and_say_who_can_use_them() -> None:
    steps = migrations()
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(step.oldest for step in steps)


async def test_a_migrated_database_is_left_alone(empty_database: Database) -> None:
    assert await migrate(empty_database.owner_url, LOGIN) == NAMES
    assert await migrate(empty_database.owner_url, LOGIN) == []
    await require_schema(empty_database.app_url)


async def test_a_schema_that_is_not_seen_in_time_is_said(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "CONNECT_SECONDS", 0.2)
    connection = await asyncpg.connect(database.owner_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE schema_migrations")
            with pytest.raises(LogBusy):
                await require_schema(database.app_url)
    finally:
        await connection.close()


async def test_ten_that_start_at_once_migrate_once(empty_database: Database) -> None:
    applied = await asyncio.gather(*(migrate(empty_database.owner_url, LOGIN) for _ in range(10)))
    assert sorted(name for names in applied for name in names) == NAMES


async def test_several_databases_of_one_cluster_migrate_at_once(postgres_server: PostgresServer) -> None:
    async with AsyncExitStack() as closing:
        fresh = [await closing.enter_async_context(postgres_server.new_database()) for _ in range(4)]
        applied = await asyncio.gather(*(migrate(one.owner_url, LOGIN) for one in fresh for _ in range(2)))
        assert sorted(name for names in applied for name in names) == sorted(4 * NAMES)
        for one in fresh:
            async with open_stage(one.app_url) as stage:
                await stage.running_batch(lines=1)


def older_than(number: int) -> list[Migration]:
    """The steps before a number, and the one with the functions that this program reads rows by."""
    return [step for step in migrations() if step.number < number or "FUNCTION fold_after" in step.sql]


def missing(applied: list[Migration]) -> list[str]:
    """The names of the other steps."""
    return [step.name for step in migrations() if step not in applied]


async def test_what_was_there_before_expiry_was_noted_expires_too(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = older_than(5)
    with monkeypatch.context() as older:
        older.setattr(migrating, "migrations", lambda: before)
        await migrate(empty_database.owner_url, LOGIN)
    async with open_stage(empty_database.app_url) as stage:
        due, never = await stage.file(expires_after=0), await stage.file()
        for id in (due, never):
            await stage.project(File, id)
        assert await migrate(empty_database.owner_url, LOGIN) == missing(before)
        assert await stage.models.overdue(File, 10) == [due]


async def test_what_was_there_before_there_were_limits_counts_and_keeps_its_place(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = older_than(8)
    with monkeypatch.context() as older:
        older.setattr(migrating, "migrations", lambda: before)
        await migrate(empty_database.owner_url, LOGIN)
    async with open_stage(empty_database.app_url) as stage:
        seen, unseen, gone = [await stage.file() for _ in range(3)]
        await stage.project(File, seen)
        await stage.delete_file(gone)
        batches = [await stage.new_batch() for _ in range(3)]
        assert await migrate(empty_database.owner_url, LOGIN) == missing(before)
        assert (
            await stage.models.kept(PROJECT) == 2 * (await stage.models.get(File, unseen)).state.created.size
        )
        assert [batch.batch_id for batch in await stage.board.open_batches_of(PROJECT)] == batches


async def test_a_step_stands_back_while_others_hold_its_table(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [step for step in migrations() if step.number < 5]
    with monkeypatch.context() as older:
        older.setattr(migrating, "migrations", lambda: before)
        await migrate(empty_database.owner_url, LOGIN)
    monkeypatch.setattr(migrating, "PATIENCE", "100ms")
    apply, refused = migrating._apply_next, asyncio.Event()

    async def watched(connection: "asyncpg.Connection[asyncpg.Record]") -> Migration | None:
        try:
            return await apply(connection)
        except asyncpg.LockNotAvailableError:
            refused.set()
            raise

    monkeypatch.setattr(migrating, "_apply_next", watched)
    reader = await asyncpg.connect(empty_database.owner_url)
    async with reader.transaction():
        await reader.execute("SELECT 1 FROM read_models")
        step = asyncio.create_task(migrate(empty_database.owner_url, LOGIN))
        await asyncio.wait_for(refused.wait(), 60)
        async with open_stage(empty_database.app_url) as stage:
            assert await stage.file()  # nobody waits behind the step
    assert await step == NAMES[4:]
    await reader.close()


async def test_the_owner_may_be_the_application_too(empty_database: Database) -> None:
    await migrate(empty_database.owner_url, OWNER)
    await require_schema(empty_database.owner_url)
    async with open_stage(empty_database.owner_url) as stage:
        await stage.running_batch(lines=1)


async def test_a_second_login_of_the_same_database_gets_the_same_rights(database: Database) -> None:
    owner = await asyncpg.connect(database.owner_url)
    try:
        await owner.execute("CREATE ROLE batchmill_second LOGIN")
        try:
            assert await migrate(database.owner_url, "batchmill_second") == []
            assert await owner.fetchval("SELECT pg_has_role('batchmill_second', $1, 'USAGE')", ROLE)
        finally:
            await owner.execute("DROP ROLE batchmill_second")
    finally:
        await owner.close()


async def _say_a_newer_program_was_here(database: Database) -> None:
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(
        "INSERT INTO schema_migrations (number, name, sha256, oldest_program)"
        " VALUES (9000, '9000_from_the_future.sql', '00', '7.2.0')"
    )
    await owner.close()


async def test_only_a_program_that_is_too_old_is_refused(database: Database) -> None:
    await _say_a_newer_program_was_here(database)
    for program in ("7.1.9", "0.1.0", "6.99"):
        with pytest.raises(SchemaRefused, match=rf"needs batchmill 7\.2\.0 or newer; this is {program}"):
            await migrate(database.owner_url, LOGIN, program=program)
        with pytest.raises(SchemaRefused, match="upgrade the program"):
            await require_schema(database.app_url, program=program)
    for program in ("7.2.0", "7.10", "8.0.0rc1"):
        assert await migrate(database.owner_url, LOGIN, program=program) == []
        await require_schema(database.app_url, program=program)


async def test_a_migration_that_was_edited_after_it_was_applied_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = migrations()
    edited = Migration(first.number, first.name, first.sql + "-- one more line\n", first.oldest)
    monkeypatch.setattr(migrating, "migrations", lambda: [edited, *others])
    with pytest.raises(SchemaRefused, match=rf"{first.name} was applied with another text"):
        await migrate(database.owner_url, LOGIN)


async def test_a_failed_migration_leaves_nothing_of_itself(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = migrations()
    broken = Migration(
        len(steps) + 1, "9999_broken.sql", "CREATE TABLE half (id integer); SELECT 1/0", "0.1.0"
    )
    monkeypatch.setattr(migrating, "migrations", lambda: [*steps, broken])
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(database.owner_url, LOGIN)
    owner = await asyncpg.connect(database.owner_url)
    assert await owner.fetchval("SELECT to_regclass('half')") is None
    await owner.close()
    with pytest.raises(SchemaRefused, match="lacks migrations"):
        await require_schema(database.app_url)


async def test_a_database_without_a_schema_is_told_what_to_do(empty_database: Database) -> None:
    with pytest.raises(SchemaRefused, match="run `batchmill migrate`"):
        await require_schema(empty_database.app_url)


async def test_a_database_that_is_not_there_is_unavailable(database: Database) -> None:
    nowhere = database.owner_url.replace(database.name, "batchmill_nowhere")
    with pytest.raises(DatabaseUnavailable):
        await migrate(nowhere, LOGIN)
