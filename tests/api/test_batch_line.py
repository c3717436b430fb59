"""All that is known of one line, found by its custom_id."""

import asyncio
import json
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from events.batch import (
    Batch,
    BatchCancelled,
    BatchCancelRequested,
    BatchExpired,
    BatchExpiryReached,
    BatchFailed,
    BatchFinalizing,
    Usage,
)
from events.inputs.validator import LineError
from events.outcomes.lines import TIMED_OUT, LineOutcome
from storage.store import StorageUnavailable
from tests.api.client import Answer
from tests.api.serving import BEGAN_MS, Project, Served

NAMES = ["a", "b/c", "//d", "e%2Ff", "große 文", "g?h=1#i", ".."]


def request_line(custom_id: str) -> bytes:
    body = {"model": "small", "messages": []}
    request = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(request).encode()


CONTENT = b"\n\n".join(map(request_line, NAMES))


def outcome(line: int, status: int = 200, attempts: int = 1) -> LineOutcome:
    usage = Usage(8, 2, 1, 1, 10) if status == 200 else Usage()
    return LineOutcome(line, status, attempts, usage, BEGAN_MS / 1000 + line, 0.25, b"{}\n")


def created(project: Project) -> str:
    return project.client.created(project.client.uploaded(CONTENT))


def line(project: Project, batch_id: str, custom_id: str) -> Answer:
    return project.client.get(f"/v1/batches/{batch_id}/lines/{quote(custom_id, safe='')}")


def test_a_line_has_a_history(served: Served, project: Project) -> None:
    batch_id = created(project)
    served.start(batch_id, CONTENT)
    waiting = line(project, batch_id, "b/c").json
    assert (waiting["status"], waiting["outcome"]) == ("waiting", None)

    served.record(batch_id, outcome(0), worker="worker-1")
    served.record(batch_id, outcome(1, attempts=3), outcome(2, 500), worker="worker-2")
    answer = line(project, batch_id, "b/c")
    assert answer.status == 200
    first = len(request_line(NAMES[0])) + 2
    shown = answer.json
    assert (
        shown["outcome"].pop("recorded_at")
        == project.client.get(f"/v1/batches/{batch_id}/events").json["data"][3]["created_at"]
    )
    assert shown == {
        "object": "batch.line",
        "batch_id": batch_id,
        "custom_id": "b/c",
        "status": "completed",
        "input": {
            "file_id": project.client.get(f"/v1/batches/{batch_id}").json["input_file_id"],
            "line": 3,
            "start": first,
            "bytes": len(request_line("b/c")),
        },
        "outcome": {
            "status_code": 200,
            "code": None,
            "attempts": 3,
            "started_at": BEGAN_MS / 1000 + 1,
            "seconds": 0.25,
            "worker": "worker-2",
            "usage": {
                "input_tokens": 8,
                "input_tokens_details": {"cached_tokens": 1},
                "output_tokens": 2,
                "output_tokens_details": {"reasoning_tokens": 1},
                "total_tokens": 10,
            },
            "event": "4",
        },
    }


@pytest.mark.parametrize("custom_id", NAMES)
def test_any_custom_id_is_found(served: Served, project: Project, custom_id: str) -> None:
    found = line(project, created(project), custom_id)
    assert found.status == 200, found.body
    assert (found.json["custom_id"], found.json["input"]["line"]) == (
        custom_id,
        NAMES.index(custom_id) * 2 + 1,
    )


@pytest.mark.parametrize(
    ("status", "code", "expected"), [(500, None, "failed"), (TIMED_OUT, "request_timeout", "failed")]
)
def test_a_line_that_failed_says_how(
    served: Served, project: Project, status: int, code: str | None, expected: str
) -> None:
    batch_id = created(project)
    served.start(batch_id, CONTENT)
    served.record(batch_id, outcome(0, status))
    found = line(project, batch_id, "a").json
    assert found["status"] == expected
    assert (found["outcome"]["status_code"], found["outcome"]["code"]) == (max(status, 0) or None, code)


def test_a_line_that_was_never_run_says_why(served: Served, project: Project) -> None:
    cancelled, expired, refused = (created(project) for _ in range(3))
    served.start(cancelled, CONTENT)
    served.happen(cancelled, BatchCancelRequested(), BatchFinalizing("cancelled"), BatchCancelled())
    served.start(expired, CONTENT)
    served.happen(expired, BatchExpiryReached(), BatchFinalizing("expired"), BatchExpired(None, None))
    served.happen(refused, BatchFailed((LineError("empty_file", "It is empty."),)))
    found = [line(project, batch_id, "a").json["status"] for batch_id in (cancelled, expired, refused)]
    assert found == ["cancelled", "expired", "refused"]


@pytest.mark.parametrize("custom_id", ["z", "b", "x" * 1000])
def test_an_unknown_custom_id_is_not_found(project: Project, custom_id: str) -> None:
    answer = line(project, created(project), custom_id)
    assert answer.status == 404
    assert answer.error["param"] == "custom_id"
    assert custom_id[:100] in (answer.error["message"] or "")


def test_what_is_no_text_is_not_found(project: Project) -> None:
    assert project.client.get(f"/v1/batches/{created(project)}/lines/%ff").status == 404
    assert project.client.get(f"/v1/batches/{project.client.created()}/lines/a").status == 404


def test_without_its_input_no_line_is_found(served: Served, project: Project) -> None:
    batch_id = created(project)
    kept = served.run(served.journal.models.get(Batch, batch_id)).state.created.input
    assert kept is not None
    Path(served.folder / kept.storage_key).unlink()
    answer = line(project, batch_id, "a")
    assert answer.status == 404
    assert "is gone" in (answer.error["message"] or "")


def test_a_huge_input_is_not_searched(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.batches.line.SEARCH_BYTES", len(CONTENT) - 1)
    answer = line(project, created(project), "a")
    assert answer.status == 400
    assert str(len(CONTENT)) in (answer.error["message"] or "")


def test_a_search_that_takes_too_long_is_ended(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    async def for_ever(*_: object) -> None:
        await asyncio.Event().wait()

    batch_id = created(project)
    monkeypatch.setattr("api.batches.line.PATIENCE", 0.5)
    for step in ("record_of", "find_line"):
        monkeypatch.setattr(f"api.batches.line.{step}", for_ever)
        answer = line(project, batch_id, "a")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.error["message"] == "The input could not be searched in time. Please try again."


def test_another_projects_batch_is_unknown(served: Served, project: Project) -> None:
    for batch_id in (created(served.project()), f"batch_{uuid4().hex}", "%00"):
        answer = line(project, batch_id, "a")
        assert answer.status == 404
        assert (answer.error["message"] or "").startswith("No batch found with id '")


def test_a_custom_id_is_not_in_the_log_of_the_process(served: Served, project: Project) -> None:
    batch_id = created(project)
    served.store.failure = StorageUnavailable("away")
    try:
        with capture_logs() as said:
            assert line(project, batch_id, "b/c").status == 503
    finally:
        served.store.failure = None
    assert [entry["path"] for entry in said] == [f"/v1/batches/{batch_id}/lines/…"]
