"""`batchmill log`: a new incarnation, by who owns the database, and files that storage lost."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from cli import log_events
from cli.exit_codes import ExitCode
from cli.main import run
from engine.finalizer import Finalizer
from events.catalog import new_event
from events.database import Database as Connections
from events.key import describe_secret, fresh_secret
from events.log import Row
from events.origin import Origin
from events.postgres_log import PostgresLog
from tests.engine.recorded import request_line, world_on
from tests.postgres import Database
from tests.serve_process import PROGRAM
from tests.tied import TIED

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


def test_the_events_of_the_log_are_printed_in_order_from_any_position(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", database.app_url)
    monkeypatch.setattr(log_events, "PAGE", 2)
    made = asyncio.run(some_keys(database, "one", "two", "one"))
    shown = printed_events(capsys)
    assert [event["position"] for event in shown] == [1, 2, 3]
    assert [(event["stream"], event["version"], event["project"]) for event in shown] == [
        (made[0], 1, "one"),
        (made[1], 1, "two"),
        (made[2], 1, "one"),
    ]
    assert (shown[0]["type"], shown[0]["actor"]) == ("KeyCreated", "operator")
    assert shown[0]["data"]["hint"].startswith("…")
    assert [event["position"] for event in printed_events(capsys, "--after", "1", "--project", "one")] == [3]
    assert [event["position"] for event in printed_events(capsys, "--stream", made[1])] == [2]


async def test_events_are_printed_as_they_are_recorded(database: Database) -> None:
    environment = {**os.environ, "BATCHMILL_DATABASE_URL": database.app_url}
    following = await asyncio.create_subprocess_exec(
        *TIED, *PROGRAM, "log", "events", "--follow",
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    assert following.stdout is not None
    assert following.stderr is not None
    async with asyncio.timeout(60):
        for project in ("one", "two"):
            [made] = await some_keys(database, project)
            assert json.loads(await following.stdout.readline())["stream"] == made
        following.send_signal(signal.SIGINT)
        assert await following.wait() == ExitCode.INTERRUPTED
        assert (await following.stdout.read(), await following.stderr.read()) == (b"", b"")


def heed_interrupts() -> None:
    """A shell has what it runs in the background ignore them, and all its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def some_keys(database: Database, *projects: str) -> list[str]:
    """Makes keys of these projects; their ids."""
    made = []
    opened = await Connections.open(database.app_url, connections=2)
    try:
        for project in projects:
            made.append(f"key_{uuid4().hex}")
            event = new_event(
                made[-1], project, describe_secret(fresh_secret()), metadata=Origin("operator").metadata()
            )
            await PostgresLog(opened).append([event], rows=[Row("key", made[-1], project)])
    finally:
        await opened.close()
    return made


def printed_events(capsys: Capture, *options: str) -> list[dict[str, Any]]:
    assert run(["log", "events", *options]) == ExitCode.OK
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
