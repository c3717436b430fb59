"""`batchmill audit reads`: who has read contents of a project, as people and as programs want it told."""

import asyncio
import json
from datetime import datetime
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from events.catalog import new_event
from events.origin import Origin
from events.reads import ContentRead, reads_stream
from tests.events.stage import TRACEPARENT, open_stage
from tests.postgres import Database

Capture = pytest.CaptureFixture[str]
BY = Origin("key_1", request="req_1", client_request="c_1", address="203.0.113.0/24", traceparent=TRACEPARENT)


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: Database) -> None:
    monkeypatch.setenv("BATCHMILL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", database.app_url)


async def reads(*arguments: str) -> int:
    return await asyncio.to_thread(run, ["audit", "reads", *arguments])


async def recorded(database: Database, *found: ContentRead, project: str = "default") -> None:
    async with open_stage(database.app_url) as stage:
        for read in found:
            event = new_event(reads_stream(project), project, read, metadata=BY.metadata())
            await stage.log.append([event])


async def test_each_read_is_a_line_the_oldest_first(database: Database, capsys: Capture) -> None:
    await recorded(database, ContentRead("file-1", "bytes", 0, 100), ContentRead("batch_1", "results", 5, 9))
    assert await reads() == ExitCode.OK
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["read", "by", "of", "what", "request", "address"]
    assert [line.split()[2:] for line in lines] == [
        ["key_1", "file-1", "bytes", "0-100", "req_1", "203.0.113.0/24"],
        ["key_1", "batch_1", "results", "5-9", "req_1", "203.0.113.0/24"],
    ]


async def test_programs_are_told_all_of_a_project(database: Database, capsys: Capture) -> None:
    await recorded(database, ContentRead("file-1", "bytes", 0, 100), project="research")
    assert await reads("--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == []
    assert await reads("--project", "research", "--json") == ExitCode.OK
    (told,) = json.loads(capsys.readouterr().out)
    assert told | {"read_at": 0} == {
        "position": 1,
        "read_at": 0,
        "actor": "key_1",
        "of": "file-1",
        "part": "bytes",
        "start": 0,
        "end": 100,
        "request": "req_1",
        "client_request": "c_1",
        "address": "203.0.113.0/24",
        "trace": TRACEPARENT.split("-")[1],
    }


async def test_there_may_be_more_than_are_listed(database: Database, capsys: Capture) -> None:
    await recorded(database, *(ContentRead("file-1", "bytes", n, n + 1) for n in range(3)))
    assert await reads("--limit", "2", "--json") == ExitCode.OK
    told = capsys.readouterr()
    shown = json.loads(told.out)
    assert [read["start"] for read in shown] == [0, 1]
    assert "There are more" in told.err
    again = told.err.split()[-1]
    assert datetime.fromisoformat(again).timestamp() >= shown[-1]["read_at"]
    assert await reads("--since", again, "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)[-1]["start"] == 2


async def test_a_time_is_a_time(database: Database, capsys: Capture) -> None:
    await recorded(database, ContentRead("file-1", "bytes", 0, 1))
    assert await reads("--since", "9999-01-01", "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == []
    assert await reads("--since", "yesterday") == ExitCode.USAGE
    assert "is no time such as" in capsys.readouterr().err
