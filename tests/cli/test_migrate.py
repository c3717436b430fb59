"""`batchmill migrate`: before a server, beside one, and several at once."""

import subprocess
from pathlib import Path

import asyncpg
import pytest

from cli.exit_codes import ExitCode
from events.migrate import migrations
from tests.postgres import Database
from tests.serve_process import PROGRAM, environment, ran, ran_here, serve_process

UP_TO_DATE = "nothing to apply: the schema is up to date\n"


def settings_of(database: Database, folder: Path) -> dict[str, str]:
    return {
        "BATCHMILL_DATABASE_URL": database.app_url,
        "BATCHMILL_DATABASE_OWNER_URL": database.owner_url,
        "BATCHMILL_DATA_DIR": str(folder),
    }


def test_a_fresh_database_is_brought_up_to_date_once(empty_database: Database, tmp_path: Path) -> None:
    settings = settings_of(empty_database, tmp_path)
    first = ran_here("migrate", settings=settings)
    assert first.returncode == ExitCode.OK, first.stderr
    assert first.stdout.splitlines() == [f"applied {migration.name}" for migration in migrations()]
    again = ran_here("migrate", settings=settings)
    assert (again.returncode, again.stdout) == (ExitCode.OK, UP_TO_DATE)


@pytest.mark.soak  # ten at once are tested in one process
def test_several_at_once_apply_each_migration_once(empty_database: Database, tmp_path: Path) -> None:
    settings = environment(settings_of(empty_database, tmp_path))
    running = [
        subprocess.Popen([*PROGRAM, "migrate"], env=settings, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [ExitCode.OK] * 3
    applied = [line for text in told for line in text.splitlines() if line.startswith("applied")]
    assert len(applied) == len(set(applied)) == len(migrations())


def test_the_embedded_database_is_migrated_without_and_beside_its_server(tmp_path: Path) -> None:
    settings = {"BATCHMILL_DATA_DIR": str(tmp_path), "BATCHMILL_API_KEY": "sk-mine"}
    first = ran("migrate", settings=settings)
    assert first.returncode == ExitCode.OK, first.stderr
    assert first.stdout.startswith("applied ")
    with serve_process(settings=settings) as served:
        assert served.url
        beside = ran("migrate", settings=settings)
        assert (beside.returncode, beside.stdout) == (ExitCode.OK, UP_TO_DATE)
        assert served.client("sk-mine").batches.list().data == []


async def test_a_schema_that_needs_a_newer_program_is_refused(database: Database, tmp_path: Path) -> None:
    owner = await asyncpg.connect(database.owner_url)
    try:
        await owner.execute(
            "INSERT INTO schema_migrations (number, name, sha256, oldest_program)"
            " VALUES (9000, '9000_from_the_future.sql', '00', '7.2.0')"
        )
    finally:
        await owner.close()
    settings = settings_of(database, tmp_path) | {"BATCHMILL_API_KEY": "sk-mine"}
    with serve_process(settings=settings) as served:
        assert served.exit_code() == ExitCode.REFUSED
    (told,) = served.said
    assert told.startswith("batchmill: the database is at migration 9000_from_the_future.sql")
    assert told.endswith("upgrade the program")


def test_a_login_that_may_not_migrate_is_told_so(empty_database: Database, tmp_path: Path) -> None:
    settings = settings_of(empty_database, tmp_path)
    settings["BATCHMILL_DATABASE_OWNER_URL"] = empty_database.app_url
    refused = ran_here("migrate", settings=settings)
    assert refused.returncode == ExitCode.REFUSED
    (told,) = refused.stderr.splitlines()
    assert told.startswith("batchmill: this login may not migrate (permission denied for schema public)")
    assert told.endswith("in BATCHMILL_DATABASE_OWNER_URL")
