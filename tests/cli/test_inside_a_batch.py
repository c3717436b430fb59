"""`batchmill batches events|errors|line|results|retry` against a server that answers by a script."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from tests.cli.scripted_server import Answer, ScriptedServer, scripted_server

BATCH = {"id": "batch_1", "object": "batch", "status": "completed"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    for name in [name for name in os.environ if name.startswith("BATCHMILL_")]:
        monkeypatch.delenv(name)
    with scripted_server() as running:
        monkeypatch.setenv("BATCHMILL_URL", running.url)
        yield running


def results(*lines: str, last: int, more: bool, cut: bool = False) -> Answer:
    """A part of the results."""
    headers = (("X-Last-Line", str(last)), ("X-Incomplete", "true" if more else "false"))
    return Answer(200, "".join(lines).encode(), cut, headers)


def test_events_are_listed_with_who_caused_them(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    created = {"id": "3", "type": "BatchStarted", "actor": "planner", "data": {"total": 3, "model": "m"}}
    told = {"id": "4", "type": "BatchFinalizing", "actor": None, "data": {"reason": "done" * 30}}
    server.answers("GET /batches/batch_1/events", {"data": [created, told], "has_more": False})
    assert run(["batches", "events", "batch_1", "--after", "2", "--limit", "5"]) == ExitCode.OK
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["id", "time", "type", "actor", "data"]
    assert first.split(maxsplit=3) == ["3", "BatchStarted", "planner", '{"total": 3, "model": "m"}']
    assert second.endswith("…")
    assert server.asked[0].path == "/batches/batch_1/events?limit=5&after=2"
    assert run(["batches", "events", "batch_1", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == [created, told]


def test_failures_are_told_by_cause_and_a_cause_is_retried(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    cause = {"id": "c1", "count": 1200, "status_code": 400, "code": "too_long", "message": "Too many tokens."}
    more = {"custom_ids": ["a", "b"], "lines": []}
    server.answers("GET /batches/batch_1/errors", {"data": [cause | more], "has_more": False})
    assert run(["batches", "errors", "batch_1"]) == ExitCode.OK
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split(maxsplit=4) == ["c1", "1,200", "400", "too_long", "Too many tokens.  a, b"]

    server.answers("POST /batches/batch_1/retry", BATCH | {"id": "batch_2", "status": "validating"})
    server.answers("GET /batches/batch_2", BATCH | {"id": "batch_2"})
    retry = ["--group", "c1", "--idempotency-key", "night", "--watch", "--interval", "1ms"]
    assert run(["batches", "retry", "batch_1", *retry]) == ExitCode.OK
    assert json.loads(server.asked[1].body) == {"group": "c1", "idempotency_key": "night"}
    assert "batch_2  completed" in capsys.readouterr().out


def test_a_retry_of_all_asks_for_nothing_more(server: ScriptedServer) -> None:
    server.refuses("POST /batches/batch_1/retry", 409, "it has not ended.")
    assert run(["batches", "retry", "batch_1"]) == ExitCode.REFUSED
    assert json.loads(server.asked[0].body) == {}


def test_a_line_is_shown_whatever_its_name(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = {"status_code": 200, "attempts": 2, "seconds": 0.25, "worker": "w-1", "event": "3"}
    line = {"custom_id": "a/b ?", "status": "completed", "input": {"file_id": "file-1", "line": 7}}
    server.answers("GET /batches/batch_1/lines/a%2Fb%20%3F", line | {"outcome": outcome}, line)
    assert run(["batches", "line", "batch_1", "a/b ?"]) == ExitCode.OK
    shown = dict(row.split("  ", 1) for row in capsys.readouterr().out.splitlines())
    assert {name: value.strip() for name, value in shown.items()} == {
        "custom_id": "a/b ?",
        "status": "completed",
        "input": "line 7 of file-1",
        "answer": "200",
        "attempts": "2",
        "took": "0.250 s",
        "worker": "w-1",
        "event": "3",
    }
    assert run(["batches", "line", "batch_1", "a/b ?", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == line


def test_results_so_far_are_fetched_and_gone_on_with(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "results.jsonl"
    server.script["GET /batches/batch_1/results"] = [
        results("1\n", "2\n", last=2, more=True),
        results("3\n", last=3, more=False),
    ]
    assert run(["batches", "results", "batch_1", "-o", str(target)]) == ExitCode.OK
    assert target.read_text() == "1\n2\n"
    assert "2 results so far, more can come: `--offset 2` goes on" in capsys.readouterr().err
    assert run(["batches", "results", "batch_1", "-o", str(target), "--offset", "2"]) == ExitCode.OK
    assert target.read_text() == "1\n2\n3\n"
    assert capsys.readouterr().err == ""
    assert [asked.path.partition("?")[2] for asked in server.asked] == ["offset=0", "offset=2"]


def test_results_are_followed_through_a_cut_and_none_comes_twice(
    server: ScriptedServer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    server.script["GET /batches/batch_1/results"] = [
        results("1\n", "2\n", "hal", last=9, more=True, cut=True),
        results("half\n", last=3, more=True),
        results(last=3, more=True),
        results("4\n", last=4, more=False),
    ]
    server.answers("GET /batches/batch_1", BATCH)
    assert run(["batches", "results", "batch_1", "--follow", "--interval", "1ms"]) == ExitCode.OK
    told = capsysbinary.readouterr()
    assert told.out == b"1\n2\nhalf\n4\n"
    assert b"trying again" in told.err
    offsets = [asked.path.partition("?offset=")[2] for asked in server.asked]
    assert offsets == ["0", "2", "3", "3", ""]


@pytest.mark.parametrize(("status", "code"), [("completed", ExitCode.OK), ("expired", ExitCode.FAILED)])
def test_following_exits_as_a_watch_does(
    server: ScriptedServer, tmp_path: Path, status: str, code: ExitCode
) -> None:
    server.script["GET /batches/batch_1/results"] = [results("1\n", last=1, more=False)]
    server.answers("GET /batches/batch_1", BATCH | {"status": "finalizing"}, BATCH | {"status": status})
    target = tmp_path / "results.jsonl"
    asked = ["batches", "results", "batch_1", "--follow", "--interval", "1ms", "-o", str(target)]
    assert run(asked) == code
    assert target.read_text() == "1\n"


def test_results_of_a_server_that_has_none_are_told_as_such(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "results.jsonl"
    server.answers("GET /batches/batch_1/results", b"{}")
    assert run(["batches", "results", "batch_1", "-o", str(target)]) == ExitCode.FAILED
    assert "tells no results of batches while they run" in capsys.readouterr().err
    assert not target.exists()
    server.refuses("GET /batches/batch_2/results", 404, "No batch found with id 'batch_2'.")
    assert run(["batches", "results", "batch_2"]) == ExitCode.NOT_FOUND


def test_a_place_for_results_that_cannot_be_written_is_named(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "none" / "results.jsonl"
    for more in ([], ["--follow"]):
        assert run(["batches", "results", "batch_1", "-o", str(target), *more]) == ExitCode.FAILED
        assert f"{target} cannot be written: No such file or directory" in capsys.readouterr().err
    assert server.asked == []
