"""Every answer is as OpenAI describes it: the client of these tests holds each against the description, and
here that is made sure of."""

from typing import Any, get_args

import pytest

from events.batch import (
    BatchCancelled,
    BatchCancelRequested,
    BatchCompleted,
    BatchEvent,
    BatchExpired,
    BatchExpiryReached,
    BatchFailed,
    BatchFinalizing,
    BatchStarted,
    LinesCompleted,
    Status,
    Usage,
)
from events.inputs.validator import LineError
from tests.api.serving import Project, Served
from tests.contract.openai_document import assert_described, assert_valid, described

STARTED = BatchStarted(2, "m")
ERRORS = (LineError("invalid_request", "m", "file_id", None), LineError("empty_file", "m", None, 1))
HISTORIES: dict[str, list[BatchEvent]] = {
    "validating": [],
    "failed": [BatchFailed(ERRORS)],
    "in_progress": [STARTED, LinesCompleted("1", "w", 1, 1, Usage(1, 2, 3, 4, 5), 0, "")],
    "finalizing": [STARTED, BatchFinalizing("done")],
    "completed": [STARTED, BatchFinalizing("done"), BatchCompleted("file-o", None)],
    "expired": [STARTED, BatchExpiryReached(), BatchFinalizing("expired"), BatchExpired("file-o", "file-e")],
    "cancelling": [STARTED, BatchCancelRequested()],
    "cancelled": [STARTED, BatchCancelRequested(), BatchFinalizing("cancelled"), BatchCancelled()],
}


def test_every_status_is_tried() -> None:
    assert set(HISTORIES) == set(get_args(Status))


@pytest.mark.parametrize("status", HISTORIES)
def test_a_batch_is_as_described_in_every_status(served: Served, project: Project, status: str) -> None:
    client = project.client
    batch_id = client.created(client.uploaded(), metadata={"team": "search"})
    if HISTORIES[status]:
        served.happen(batch_id, *HISTORIES[status])
    assert client.get(f"/v1/batches/{batch_id}").json["status"] == status
    assert client.get("/v1/batches").json["data"][0]["status"] == status
    assert client.ask("POST", f"/v1/batches/{batch_id}/cancel").status in (200, 409)


def test_every_operation_on_files_and_models_is_as_described(project: Project) -> None:
    client = project.client
    asked = [
        ("get", "/files"),
        ("get", f"/files/{client.uploaded(purpose='evals')}"),
        ("delete", f"/files/{client.uploaded()}"),
        ("get", "/models"),
        ("get", "/models/small"),
    ]
    for method, path in asked:
        assert client.ask(method.upper(), f"/v1{path}").status == 200
    theirs = {(method, path.split("/")[1]) for method, path in described()}
    assert {(method, path.split("/")[1]) for method, path in asked} < theirs


GOOD: dict[str, Any] = {"message": "m", "type": "invalid_request_error", "param": None, "code": None}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"detail": "Not Found"}),
        (404, {"error": GOOD | {"code": 404}}),
        (404, {"error": {name: value for name, value in GOOD.items() if name != "param"}}),
        (200, {"id": "file-x", "object": "file"}),
        (200, {"error": GOOD}),
    ],
)
def test_what_is_not_as_described_is_noticed(status: int, body: object) -> None:
    with pytest.raises(AssertionError):
        assert_described("GET", "/v1/files/file-x?x=y", status, body)


def test_null_is_noticed_where_real_answers_have_none(project: Project) -> None:
    shown = project.client.create("file-none").json
    assert_valid("Batch", shown | {"output_file_id": None})
    for wrong in ({"id": None}, {"request_counts": None}, {"status": "done"}, {"surprise": 1}):
        with pytest.raises(AssertionError):
            assert_valid("Batch", shown | wrong)
