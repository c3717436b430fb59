"""`batchmill batches history` and `show --at` against a server that answers by a script."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from tests.cli.scripted_server import ScriptedServer
from tests.cli.test_inside_a_batch import BATCH, server

__all__ = ["server"]

WHEN = 1_790_000_000.125
Capture = pytest.CaptureFixture[str]


def entry(name: str, seconds: float, text: str, *, lasts: bool = False, **more: object) -> dict[str, object]:
    ended = None if lasts else WHEN + seconds
    return {"name": name, "began_at": WHEN, "ended_at": ended, "seconds": seconds, "text": text, **more}


def test_a_time_line_is_told_in_lines(server: ScriptedServer, capsys: Capture) -> None:
    entries = [
        entry("created", 0.0, "of file-1", actors=["key_1"]),
        entry("waiting", 1.25, "route paused: …", why="route paused: …"),
        entry("running", 125.0, "2 lines", lasts=True, actors=["a", "b", "c", "d", "e"]),
        entry("finalizing", 0.0, "nothing more is recorded", why="it was cancelled"),
    ]
    server.answers("GET /batches/batch_1/history", {"data": entries, "has_more": False})
    assert run(["batches", "history", "batch_1"]) == ExitCode.OK
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["time", "took", "what", "who", "told"]
    assert [" ".join(row.split()[2:]) for row in rows] == [
        "created key_1 of file-1",
        "1.250 s waiting route paused: …",
        "2m 5s so far running a, b, c and 2 more 2 lines",
        "finalizing nothing more is recorded: it was cancelled",
    ]
    assert all(row.split()[1].endswith(".125") for row in rows)
    assert run(["batches", "history", "batch_1", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["data"] == entries


@pytest.mark.parametrize(("at", "asked"), [("3", "3"), ("1790000000.5", "1790000000.5")])
def test_a_batch_is_asked_for_as_it_was(server: ScriptedServer, capsys: Capture, at: str, asked: str) -> None:
    server.answers("GET /batches/batch_1", BATCH)
    assert run(["batches", "show", "batch_1", "--at", at]) == ExitCode.OK
    assert "completed" in capsys.readouterr().out
    assert server.asked[0].path == f"/batches/batch_1?at={asked}"


def test_a_time_without_a_zone_is_ones_own(server: ScriptedServer, capsys: Capture) -> None:
    server.answers("GET /batches/batch_1", BATCH)
    assert run(["batches", "show", "batch_1", "--at", "2026-11-26T12:00"]) == ExitCode.OK
    [asked] = parse_qs(urlsplit(server.asked[0].path).query)["at"]
    assert asked.startswith("2026-11-26T12:00:00")
    assert asked[19] in "+-"
    assert run(["batches", "show", "batch_1", "--at", "yesterday"]) == ExitCode.USAGE
    assert "--at 'yesterday' is no time" in capsys.readouterr().err
