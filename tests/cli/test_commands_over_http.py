"""`batchmill batches` and `batchmill files` against a server that answers by a script."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from tests.cli.scripted_server import Answer, ScriptedServer, scripted_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    for name in [name for name in os.environ if name.startswith("BATCHMILL_")]:
        monkeypatch.delenv(name)
    with scripted_server() as running:
        monkeypatch.setenv("BATCHMILL_URL", running.url)
        monkeypatch.setenv("BATCHMILL_API_KEY", "sk-hush")
        yield running


def batch(status: str = "in_progress", **fields: object) -> dict[str, object]:
    counts = {"total": 2000, "completed": 1200, "failed": 3}
    return {"id": "batch_1", "object": "batch", "status": status, "request_counts": counts, **fields}


FILE = {"id": "file-1", "filename": "in.jsonl", "purpose": "batch", "bytes": 2048, "created_at": 1}


def test_batches_are_listed_with_their_progress_and_why_they_wait(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    live = {"waiting_for": "route paused: connection refused by http://gpu:8000/v1"}
    server.answers("GET /batches", {"data": [batch(model="m", batchmill=live)], "has_more": False})
    assert run(["batches", "list", "--limit", "5"]) == ExitCode.OK
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["id", "status", "lines", "model", "created", "waiting"]
    assert row.startswith("batch_1  in_progress  1,203 of 2,000, 3 failed  m")
    assert row.endswith(live["waiting_for"])
    assert server.asked[0].path == "/batches?limit=5"
    assert server.asked[0].headers["Authorization"] == "Bearer sk-hush"


def test_the_limits_of_a_project_are_shown_with_what_is_left_and_who_waits(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {
        "project": "search",
        "queued_lines": {"limit": 5000, "used": 1200, "left": 3800},
        "stored_bytes": {"limit": None, "used": 2048, "left": None},
        "waiting": {"batches": 2, "lines": 9000, "tokens": 120_000},
    }
    server.answers("GET /batchmill/limits", told)
    assert run(["limits"]) == ExitCode.OK
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown[0] == ["limit", "of", "search", "at", "most", "used", "left"]
    assert ["queued_lines", "5,000", "1,200", "3,800"] in shown
    assert ["stored_bytes", "any", "2,048"] in shown
    assert shown[-1] == ["waiting", "2", "batches,", "9,000", "lines,", "120,000", "tokens"]
    assert run(["limits", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == told


def test_a_long_list_is_fetched_page_by_page(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers(
        "GET /files",
        {"data": [FILE | {"id": f"file-{n}"} for n in range(100)], "has_more": True},
        {"data": [FILE | {"id": f"file-{n}"} for n in range(100, 150)], "has_more": True},
    )
    assert run(["files", "list", "--limit", "150", "--purpose", "batch", "--json"]) == ExitCode.OK
    assert [file["id"] for file in json.loads(capsys.readouterr().out)] == [f"file-{n}" for n in range(150)]
    assert [asked.path for asked in server.asked] == [
        "/files?limit=100&purpose=batch",
        "/files?limit=50&purpose=batch&after=file-99",
    ]


def test_a_pipe_is_not_uploaded(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It would be announced as empty, and the server would cut the connection."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        assert run(["files", "upload", str(pipe)]) == ExitCode.NOT_FOUND
    finally:
        os.close(writer)
    assert "no regular file" in capsys.readouterr().err
    assert server.asked == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["batches", "list", "--limit", "0"], "--limit"),
        (["files", "list", "--limit", "-3"], "--limit"),
        (["batches", "show", ""], "BATCH_ID"),
        (["batches", "cancel", " "], "BATCH_ID"),
        (["files", "delete", ""], "FILE_ID"),
        (["batches", "watch", "batch_1", "--interval", "0"], "--interval"),
    ],
)
def test_what_asks_for_nothing_is_wrong_usage(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    """An empty id is a script's unset variable: sent, it would name the list."""
    assert run(arguments) == ExitCode.USAGE
    assert told in capsys.readouterr().err
    assert server.asked == []


def test_a_batch_is_shown_with_its_errors(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"code": "invalid_url", "message": "The URL does not match.", "param": "url", "line": 7}
    server.answers("GET /batches/batch_1", batch("failed", errors={"data": [error]}, metadata={"team": "a"}))
    assert run(["batches", "show", "batch_1"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "line 7: The URL does not match. (invalid_url)" in shown
    assert "metadata team  a" in shown
    assert "output file" not in shown


def test_json_is_what_the_server_said(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers("GET /batches/batch_1", batch(of_the_future=[1.50]))
    assert run(["batches", "show", "batch_1", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == batch(of_the_future=[1.5])


def test_a_batch_is_watched_to_its_end(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = batch("validating", request_counts=None, batchmill={"waiting_for": "waiting for a worker"})
    server.answers("GET /batches/batch_1", waiting, waiting, batch(), batch("completed"))
    assert run(["batches", "watch", "batch_1", "--interval", "1ms"]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[:3] == [
        "batch_1  validating; waiting for a worker",
        "batch_1  in_progress, 1,203 of 2,000, 3 failed",
        "batch_1  completed, 1,203 of 2,000, 3 failed",
    ]


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_watching_a_batch_that_does_not_complete_fails(server: ScriptedServer, status: str) -> None:
    server.answers("GET /batches/batch_1", batch(status))
    assert run(["batches", "watch", "batch_1"]) == ExitCode.FAILED


def test_a_watch_outlives_a_restart_of_the_server(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refuses("GET /batches/batch_1", 503, "The log is busy.")
    server.answers("GET /batches/batch_1", batch("completed"))
    assert run(["batches", "watch", "batch_1", "--interval", "1ms", "--json"]) == ExitCode.OK
    told = capsys.readouterr()
    assert "cannot answer now: The log is busy.; trying again" in told.err
    assert [json.loads(line)["status"] for line in told.out.splitlines()] == ["completed"]


def test_a_batch_is_cancelled(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers("POST /batches/batch_1/cancel", batch("cancelling"))
    assert run(["batches", "cancel", "batch_1"]) == ExitCode.OK
    assert "cancelling" in capsys.readouterr().out
    assert server.asked[0].body == b""


def test_a_batch_is_made_from_a_local_file_and_watched(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = tmp_path / 'my "requests" é.jsonl'
    requests.write_bytes(b'{"custom_id":"a"}\n')
    server.answers("POST /files", FILE)
    server.answers("POST /batches", batch("validating"))
    server.answers("GET /batches/batch_1", batch("completed"))
    asked = ["batches", "create", str(requests), "--metadata.team", "search", "--watch", "--interval", "1ms"]
    assert run(asked) == ExitCode.OK
    sent, made, _ = server.asked
    assert b'name="purpose"\r\n\r\nbatch\r\n' in sent.body
    assert 'filename="my %22requests%22 é.jsonl"'.encode() in sent.body
    assert b'\r\n\r\n{"custom_id":"a"}\n\r\n--' in sent.body
    assert json.loads(made.body) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"team": "search"},
    }


def test_a_batch_is_made_from_a_file_on_the_server(server: ScriptedServer) -> None:
    server.answers("POST /batches", batch("validating"))
    assert run(["batches", "create", "file-9", "--endpoint", "/v1/embeddings"]) == ExitCode.OK
    assert json.loads(server.asked[0].body)["input_file_id"] == "file-9"


def test_a_file_is_uploaded_shown_and_deleted(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = tmp_path / "in.jsonl"
    local.write_bytes(b"x" * 300_000)
    server.answers("POST /files", FILE)
    server.answers("GET /files/file-1", FILE)
    server.answers("DELETE /files/file-1", {"id": "file-1", "object": "file", "deleted": True})
    for command in (["upload", str(local)], ["show", "file-1"], ["delete", "file-1"]):
        assert run(["files", *command]) == ExitCode.OK
    assert "size     2KiB" in capsys.readouterr().out
    assert b"x" * 300_000 in server.asked[0].body


def test_a_download_is_whole_or_not_there(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.jsonl"
    server.script["GET /files/file-1/content"] = [Answer(200, b"half", cut=True), Answer(200, b"whole\n")]
    assert run(["files", "download", "file-1", "-o", str(target)]) == ExitCode.UNREACHABLE
    assert list(tmp_path.iterdir()) == []
    assert "after 4 of 14 bytes" in capsys.readouterr().err
    assert run(["files", "download", "file-1", "-o", str(target)]) == ExitCode.OK
    assert target.read_bytes() == b"whole\n"


def test_a_download_goes_to_standard_output(
    server: ScriptedServer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    server.answers("GET /files/file-1/content", b"\xff\x00answers")
    assert run(["files", "download", "file-1"]) == ExitCode.OK
    assert capsysbinary.readouterr().out == b"\xff\x00answers"


def test_a_download_that_cannot_be_written_says_so(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers("GET /files/file-1/content", b"answers")
    target = tmp_path / "no" / "out.jsonl"
    assert run(["files", "download", "file-1", "-o", str(target)]) == ExitCode.FAILED
    assert capsys.readouterr().err == f"batchmill: {target} cannot be written: No such file or directory\n"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, ExitCode.FAILED),
        (401, ExitCode.REFUSED),
        (403, ExitCode.REFUSED),
        (404, ExitCode.NOT_FOUND),
        (409, ExitCode.REFUSED),
        (413, ExitCode.FAILED),
        (500, ExitCode.FAILED),
        (503, ExitCode.UNREACHABLE),
    ],
)
def test_a_refusal_is_told_in_the_server_s_words(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], status: int, code: ExitCode
) -> None:
    server.refuses("POST /batches/batch_1/cancel", status, "The server's own words.")
    assert run(["batches", "cancel", "batch_1"]) == code
    told = capsys.readouterr()
    assert "The server's own words." in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"data": 3}', b"\xff"])
def test_an_answer_that_is_none_is_no_traceback(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    server.answers("GET /batches", answer)
    assert run(["batches", "list"]) == ExitCode.FAILED
    assert capsys.readouterr().err.startswith("batchmill: the server answered something unexpected")


def test_a_server_that_is_not_there_is_named_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        assert run(["files", "list", "--url", url]) == ExitCode.UNREACHABLE
    told = capsys.readouterr().err
    assert told.startswith(f"batchmill: cannot reach {url}: Connection refused")
    assert "`batchmill serve`" in told


def test_a_local_file_that_is_not_there_is_named(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "none.jsonl")
    assert run(["files", "upload", missing]) == ExitCode.NOT_FOUND
    assert run(["batches", "create", missing]) == ExitCode.NOT_FOUND
    assert capsys.readouterr().err.count(missing) == 2
    assert server.asked == []


def test_a_file_that_is_refused_before_it_is_sent_is_told_in_the_server_s_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = tmp_path / "large.jsonl"
    with large.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    body = b'{"error":{"message":"File is too large."}}'
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 413 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        assert run(["files", "upload", str(large), "--url", url]) == ExitCode.FAILED
        thread.join()
    assert capsys.readouterr().err == "batchmill: File is too large.\n"


def test_names_do_not_steer_the_terminal(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = FILE | {"filename": "\x1b[2J\r\n[red]:smile:"}
    server.answers("GET /files", {"data": [hostile], "has_more": False})
    server.answers("GET /files/file-1", hostile)
    assert run(["files", "list"]) == run(["files", "show", "file-1"]) == ExitCode.OK
    assert capsys.readouterr().out.count("�[2J��[red]:smile:") == 2
