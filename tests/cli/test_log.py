"""`batchmill log`: a new incarnation, by who owns the database, and files that storage lost."""

import asyncio
import json
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from engine.finalizer import Finalizer
from tests.engine.recorded import request_line, world_on
from tests.postgres import Database

Capture = pytest.CaptureFixture[str]


async def incarnations(database: Database) -> list[tuple[UUID, int, str]]:
    connection = await asyncpg.connect(database.app_url)
    try:
        rows = await connection.fetch("SELECT id, position, reason FROM incarnations ORDER BY started_at")
        return [(row["id"], row["position"], row["reason"]) for row in rows]
    finally:
        await connection.close()


def test_a_fork_begins_an_incarnation_and_keeps_the_reason(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", database.app_url)
    assert run(["log", "fork", "--reason", "restored"]) == ExitCode.USAGE
    assert "give the owner's in database_owner_url" in capsys.readouterr().err
    monkeypatch.setenv("BATCHMILL_DATABASE_OWNER_URL", database.owner_url)
    assert run(["log", "fork", "--reason", " "]) == ExitCode.USAGE
    assert "--reason is empty" in capsys.readouterr().err

    assert run(["log", "fork", "--reason", "restored from Tuesday", "--json"]) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert run(["log", "fork", "--reason", "once more"]) == ExitCode.OK
    assert "has begun after position 0." in capsys.readouterr().out
    first, second, third = asyncio.run(incarnations(database))
    assert second == (UUID(told["incarnation"]), 0, "restored from Tuesday")
    assert (first[2], third[1:]) == ("first", (0, "once more"))


async def batch_without_files(database: Database, folder: Path) -> tuple[str, str]:
    """Ends a batch and deletes its input and its output file from storage; their ids."""
    async with world_on(database.app_url, folder) as world:
        batch = await world.batch([request_line(0)])
        await batch.record_lines([0])
        await Finalizer(world.journal, world.store, world.options).finalize(batch.id)
        lost = batch.input_file_id, (await batch.state()).output_file_id or ""
        for file_id in lost:
            await world.store.delete(await world.object_of(file_id))
        return lost


def test_files_that_storage_lost_are_listed_and_results_made_again(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", database.app_url)
    monkeypatch.setenv("BATCHMILL_STORAGE_URL", (tmp_path / "files").as_uri())
    assert run(["log", "files"]) == ExitCode.OK
    assert capsys.readouterr().out == "Every file that the log names is in storage.\n"

    input_id, output_id = asyncio.run(batch_without_files(database, tmp_path / "files"))
    capsys.readouterr()

    assert run(["log", "files"]) == ExitCode.FAILED
    shown = capsys.readouterr()
    assert {input_id, output_id} < set(shown.out.split())
    assert "batchmill log files --make-again" in shown.err
    assert run(["log", "files", "--make-again", "--json"]) == ExitCode.FAILED
    told = {file["id"]: file for file in json.loads(capsys.readouterr().out)}
    assert (told[output_id]["kind"], told[output_id]["state"]) == ("result", "made_again")
    assert (told[input_id]["kind"], told[input_id]["state"]) == ("file", "lost")
    assert "in storage alone" in told[input_id]["reason"]
    assert run(["log", "files"]) == ExitCode.FAILED
    assert output_id not in capsys.readouterr().out
