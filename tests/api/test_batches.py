"""Batches: creation with every refusal, the object through its life, cancelling."""

import json
import re
import time
from collections.abc import Sequence
from uuid import uuid4

import pytest

from events.batch import (
    Batch,
    BatchCompleted,
    BatchFailed,
    BatchFinalizing,
    BatchStarted,
    LinesCompleted,
    Usage,
)
from events.file import File
from events.inputs.validator import LineError, supported_endpoints
from events.log import Board
from tests.api.client import JSON, batch_body
from tests.api.serving import Project, Served

ENDPOINTS = ", ".join(f"'{e}'" for e in supported_endpoints()[:-1]) + f", and '{supported_endpoints()[-1]}'"
NO_FILES = {"output_file_id": None, "error_file_id": None}


def lines(completed: int, failed: int, usage: Usage) -> LinesCompleted:
    return LinesCompleted("1", "w", completed, failed, usage, 0, "")


def phase(served: Served, batch_id: str) -> str | None:
    board = served.run(served.board.open_batches([batch_id]))
    return board[0].phase if board else None


def test_a_new_batch_is_shown_with_every_key(served: Served, project: Project) -> None:
    file_id = project.client.uploaded()
    shown = project.client.create(file_id, metadata={"team": "search"}).json
    assert re.fullmatch(r"batch_[0-9a-f]{32}", shown["id"])
    assert abs(shown["created_at"] - time.time()) < 60
    assert shown == {
        "id": shown["id"],
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "model": None,
        "errors": None,
        "input_file_id": file_id,
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": shown["created_at"],
        "in_progress_at": None,
        "expires_at": shown["created_at"] + 86_400,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": None,
        "metadata": {"team": "search"},
        "batchmill": {
            "waiting_for": "waiting for validation",
            "lines_left": None,
            "parked": None,
            "retry_of": None,
        },
    }
    assert project.client.get(f"/v1/batches/{shown['id']}").json == shown
    assert phase(served, shown["id"]) == "planning"


def test_a_new_batch_holds_its_input(served: Served, project: Project) -> None:
    file_id = project.client.uploaded(b"{}\n")
    batch_id = project.client.created(file_id)
    assert project.client.ask("DELETE", f"/v1/files/{file_id}").status == 200
    batch = served.run(served.journal.models.get(Batch, batch_id)).state
    file = served.run(served.journal.models.find(File, file_id))
    assert file is not None
    assert batch.created.input is not None
    assert batch.created.input.storage_key == file.state.created.storage_key
    assert batch.created.input.size == 3
    assert served.run(served.board.holds_input(file_id))


@pytest.mark.parametrize("input_file_id", ["file-unknown", "", "\x00", "file-\ud7ff", "x" * 512])
def test_a_file_that_cannot_be_seen_is_no_error_yet(
    served: Served, project: Project, input_file_id: str
) -> None:
    answer = project.client.create(input_file_id)
    assert answer.status == 200
    assert answer.json["status"] == "validating"
    assert answer.json["input_file_id"] == input_file_id
    assert served.run(served.journal.models.get(Batch, answer.json["id"])).state.created.input is None


def test_a_deleted_file_cannot_be_seen(served: Served, project: Project) -> None:
    file_id = project.client.uploaded()
    project.client.ask("DELETE", f"/v1/files/{file_id}")
    batch_id = project.client.created(file_id)
    assert served.run(served.journal.models.get(Batch, batch_id)).state.created.input is None
    assert not served.run(served.board.holds_input(file_id))


def test_its_event_says_who_asked(served: Served, project: Project) -> None:
    answer = project.client.create("file-none")
    (event,) = served.run(served.journal.log.stream(answer.json["id"]))
    assert json.loads(event.metadata) == {
        "actor": project.key_id,
        "request": answer.headers["x-request-id"],
    }


@pytest.mark.parametrize(("window", "seconds"), [("5s", 5), ("2d", 172_800), ("49h", 176_400)])
def test_other_windows_can_be_offered(project: Project, window: str, seconds: int) -> None:
    shown = project.client.create("file-none", completion_window=window).json
    assert shown["completion_window"] == window
    assert shown["expires_at"] == shown["created_at"] + seconds


@pytest.mark.parametrize(
    "more",
    [
        {"metadata": None},
        {"metadata": {}},
        {"metadata": {"k" * 64: "v" * 512} | {str(n): "" for n in range(15)}},
        {"output_expires_after": None},
        {"output_expires_after": {"anchor": "created_at", "seconds": 3600}},
        {"output_expires_after": {"anchor": "created_at", "seconds": 2592000.0}},
        {"endpoint": "/v1/embeddings"},
    ],
)
def test_what_may_be_said_beside_the_required(project: Project, more: dict[str, object]) -> None:
    answer = project.client.create("file-none", **more)
    assert answer.status == 200
    assert answer.json["metadata"] == more.get("metadata")


EXPIRY = "output_expires_after"
REFUSED: Sequence[tuple[dict[str, object], str, str, str]] = [
    (
        {"endpoint": "/v1/x"},
        "endpoint",
        "invalid_value",
        f"Invalid value: '/v1/x'. Supported values are: {ENDPOINTS}.",
    ),
    (
        {"completion_window": "1h"},
        "completion_window",
        "invalid_value",
        "Invalid value: '1h'. Supported values are: '24h', '5s', and '2d-7d'.",
    ),
    (
        {"metadata": {"tags": ["a"]}},
        "metadata.tags",
        "invalid_type",
        "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
    ),
    (
        {"metadata": "a"},
        "metadata",
        "invalid_type",
        "Invalid type for 'metadata': expected an object, but got a string instead.",
    ),
    (
        {"metadata": {str(n): "" for n in range(17)}},
        "metadata",
        "object_above_max_properties",
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
        "but got an object with 17 properties instead.",
    ),
    (
        {"metadata": {"k": "v" * 600}},
        "metadata.k",
        "string_above_max_length",
        "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
        "but got a string with length 600 instead.",
    ),
    (
        {"metadata": {"k" * 65: "v"}},
        "metadata." + "k" * 64,
        "property_name_above_max_length",
        "property name too long",
    ),
    (
        {"model": "m"},
        "model",
        "unknown_parameter",
        "Unknown parameter: 'model'.",
    ),
    (
        {EXPIRY: {"anchor": "created_at", "seconds": 3599}},
        f"{EXPIRY}.seconds",
        "integer_below_min_value",
        f"Invalid '{EXPIRY}.seconds': integer below minimum value. "
        "Expected a value >= 3600, but got 3599 instead.",
    ),
    (
        {EXPIRY: {"anchor": "created_at", "seconds": 2592001}},
        f"{EXPIRY}.seconds",
        "integer_above_max_value",
        "Expected a value <= 2592000, but got 2592001 instead.",
    ),
    ({EXPIRY: {"anchor": "x", "seconds": 3600}}, f"{EXPIRY}.anchor", "invalid_value", "'created_at'"),
    ({EXPIRY: {"anchor": 1, "seconds": 3600}}, f"{EXPIRY}.anchor", "invalid_type", "an integer"),
    ({EXPIRY: {"anchor": "created_at", "seconds": True}}, f"{EXPIRY}.seconds", "invalid_type", "a boolean"),
    ({EXPIRY: {"anchor": "created_at", "seconds": 3600.5}}, f"{EXPIRY}.seconds", "invalid_type", "a decimal"),
    ({EXPIRY: {"seconds": 3600}}, f"{EXPIRY}.anchor", "missing_required_parameter", f"'{EXPIRY}.anchor'"),
    ({EXPIRY: {"anchor": "created_at"}}, f"{EXPIRY}.seconds", "missing_required_parameter", "seconds"),
    (
        {EXPIRY: {"anchor": "created_at", "seconds": 3600, "x": 1}},
        f"{EXPIRY}.x",
        "unknown_parameter",
        f"Unknown parameter: '{EXPIRY}.x'.",
    ),
    ({EXPIRY: 3600}, EXPIRY, "invalid_type", "expected an object, but got an integer instead."),
    ({"input_file_id": 7}, "input_file_id", "invalid_type", "expected a string, but got an integer instead."),
    ({"input_file_id": None}, "input_file_id", "invalid_type", "but got null instead."),
    ({"input_file_id": "x" * 513}, "input_file_id", "string_above_max_length", "maximum length 512"),
    ({"endpoint": {}}, "endpoint", "invalid_type", "but got an object instead."),
    ({"completion_window": 24}, "completion_window", "invalid_type", "but got an integer instead."),
]


@pytest.mark.parametrize(("more", "param", "code", "message"), REFUSED)
def test_a_wrong_request_is_refused(
    project: Project, more: dict[str, object], param: str, code: str, message: str
) -> None:
    answer = project.client.create("file-none", **more)
    assert answer.status == 400
    error = answer.error
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert message in (error["message"] or "")
    assert project.client.get("/v1/batches").json["data"] == []


@pytest.mark.parametrize("name", ["input_file_id", "endpoint", "completion_window"])
def test_what_is_required_is_named(project: Project, name: str) -> None:
    body = batch_body("file-none")
    del body[name]
    answer = project.client.post_json("/v1/batches", body)
    assert answer.status == 400
    assert answer.error == {
        "message": f"Missing required parameter: '{name}'.",
        "type": "invalid_request_error",
        "param": name,
        "code": "missing_required_parameter",
    }


def test_the_input_must_be_meant_for_batches(project: Project) -> None:
    file_id = project.client.uploaded(purpose="user_data")
    answer = project.client.create(file_id)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == ("input_file_id", None)
    assert "'user_data'" in (answer.error["message"] or "")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"null", b'{"a":\xff}', b"[" * 3000, b'{"a":"\\ud83d"}', b"NaN"],
)
def test_what_is_no_json_object_is_said_so(project: Project, body: bytes) -> None:
    answer = project.client.ask("POST", "/v1/batches", body, JSON)
    assert answer.status == 400
    assert "We could not parse the JSON body of your request. (HINT: " in (answer.error["message"] or "")
    assert (answer.error["param"], answer.error["code"]) == (None, None)


def test_a_json_body_has_a_limit(project: Project) -> None:
    answer = project.client.ask("POST", "/v1/batches", b" " * (1 << 21), JSON)
    assert answer.status == 413
    assert answer.error["type"] == "server_error"


def test_a_batch_through_its_life(served: Served, project: Project) -> None:
    batch_id = project.client.created(project.client.uploaded())

    def shown() -> dict[str, object]:
        answer = project.client.get(f"/v1/batches/{batch_id}")
        listed = project.client.get("/v1/batches").json["data"]
        assert listed == [answer.json]
        content: dict[str, object] = answer.json
        return content

    running = Board(batch_id, project.id, phase="running", model="m", total=3)
    served.happen(batch_id, BatchStarted(3, "m"), board=running)
    started = shown()
    assert started["status"] == "in_progress"
    assert started["model"] == "m"
    assert started["in_progress_at"] is not None
    assert started["request_counts"] == {"total": 3, "completed": 0, "failed": 0}
    assert started["usage"] == {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    assert started["batchmill"] == {
        "waiting_for": "waiting for a worker",
        "lines_left": 3,
        "parked": None,
        "retry_of": None,
    }

    served.happen(batch_id, lines(1, 0, Usage(5, 7, 2, 3, 12)), lines(1, 1, Usage(1, 1, 0, 0, 2)))
    moved = shown()
    assert moved["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert moved["usage"] == {
        "input_tokens": 6,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 14,
    }

    finalizing = Board(batch_id, project.id, phase="finalizing", revoke=True)
    served.happen(batch_id, BatchFinalizing("done"), board=finalizing)
    assert shown()["status"] == "finalizing"
    assert shown()["finalizing_at"] is not None
    assert shown()["output_file_id"] is None

    served.happen(batch_id, BatchCompleted("file-o", "file-e"), board=Board(batch_id, project.id, phase=None))
    ended = shown()
    assert ended["status"] == "completed"
    assert (ended["output_file_id"], ended["error_file_id"]) == ("file-o", "file-e")
    assert ended["completed_at"] is not None
    assert ended["batchmill"] == {"waiting_for": None, "lines_left": None, "parked": None, "retry_of": None}


def test_why_a_batch_waits_is_told(served: Served, project: Project) -> None:
    batch_id = project.client.created(project.client.uploaded())
    served.happen(batch_id, BatchStarted(3, "m"), board=Board(batch_id, project.id, phase="running", total=3))
    reason = "route paused: connection refused by http://gpu:8000/v1"
    served.run(served.board.explain({batch_id: reason}))
    assert project.client.get(f"/v1/batches/{batch_id}").json["batchmill"]["waiting_for"] == reason


def test_a_failed_batch_lists_its_errors(served: Served, project: Project) -> None:
    batch_id = project.client.created()
    errors = (
        LineError("invalid_request", "Cannot find file.", "file_id", None),
        LineError("invalid_json_line", "This line is not parseable as valid JSON.", None, 2),
    )
    served.happen(batch_id, BatchFailed(errors))
    shown = project.client.get(f"/v1/batches/{batch_id}").json
    assert shown["status"] == "failed"
    assert shown["failed_at"] is not None
    assert shown["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert shown["errors"] == {
        "data": [
            {"code": "invalid_request", "message": "Cannot find file.", "param": "file_id", "line": None},
            {
                "code": "invalid_json_line",
                "message": "This line is not parseable as valid JSON.",
                "param": None,
                "line": 2,
            },
        ],
        "object": "list",
    }


def test_an_unknown_batch_is_not_found(project: Project) -> None:
    for batch_id in (f"batch_{uuid4().hex}", "%00", "x" * 300, "%F0%9F%A6%84"):
        for answer in (
            project.client.get(f"/v1/batches/{batch_id}"),
            project.client.ask("POST", f"/v1/batches/{batch_id}/cancel"),
        ):
            assert answer.status == 404
            assert (answer.error["message"] or "").startswith("No batch found with id '")
            assert (answer.error["param"], answer.error["code"]) == (None, None)
