"""Uploads in parts that are refused: what is said, and that nothing is left behind."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from api.services import ARRIVALS_EACH
from events.catalog import new_event
from events.journal import Decision
from events.log import Row
from events.upload import UploadExpired
from tests.api.client import FORM, field, file, form
from tests.api.serving import MIB, OPTIONS, Project, Served
from tests.api.uploading import LINE, begun, cancel, complete, send, sent, state, wanted


@pytest.mark.parametrize(
    ("change", "param", "code", "says"),
    [
        ({"filename": None}, "filename", "invalid_type", "expected a string, but got null"),
        ({"filename": "x" * 4097}, "filename", "string_above_max_length", "maximum length 4096"),
        ({"purpose": "batch_output"}, "purpose", "invalid_value", "Invalid value: 'batch_output'."),
        ({"bytes": "10"}, "bytes", "invalid_type", "expected an integer, but got a string"),
        ({"bytes": True}, "bytes", "invalid_type", "expected an integer, but got a boolean"),
        ({"bytes": 0}, "bytes", "integer_below_min_value", "Expected a value >= 1, but got 0"),
        (
            {"bytes": OPTIONS.max_batch_file_bytes + 1},
            "bytes",
            "integer_above_max_value",
            f"Expected a value <= {OPTIONS.max_batch_file_bytes}, but got",
        ),
        (
            {"bytes": (8 << 30) + 1, "purpose": "fine-tune"},
            "bytes",
            "integer_above_max_value",
            f"Expected a value <= {8 << 30}, but got",
        ),
        ({"mime_type": 1}, "mime_type", "invalid_type", "expected a string, but got an integer"),
        (
            {"expires_after": {"anchor": "created_at", "seconds": 5}},
            "expires_after.seconds",
            "integer_below_min_value",
            "Expected a value >= 3600",
        ),
        ({"parts": 3}, "parts", "unknown_parameter", "Unknown parameter: 'parts'."),
    ],
)
def test_an_upload_that_cannot_be_is_refused(
    project: Project, change: dict[str, object], param: str, code: str, says: str
) -> None:
    answer = project.client.post_json("/v1/uploads", wanted(10) | change)
    assert answer.status == 400
    error = answer.error
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert says in (error["message"] or "")


def test_a_project_has_only_so_many_uploads_pending(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.uploads.uploads.MOST_PENDING", 2)
    first, _ = begun(project.client, 10), begun(project.client, 10)
    answer = project.client.post_json("/v1/uploads", wanted(10))
    assert (answer.status, answer.headers["x-should-retry"]) == (429, "false")
    assert (answer.error["type"], answer.error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert f"project {project.id} has 2 uploads that are not completed" in (answer.error["message"] or "")
    assert begun(served.project().client, 10)
    cancel(project.client, first)
    assert begun(project.client, 10)


def test_what_finds_no_slot_in_time_is_told_to_come_again(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen files of a project are on their way: one more must wait, or a part, and another project not."""
    monkeypatch.setattr("api.arrivals.PATIENCE", 0.0)
    upload_id, held = begun(project.client, 10), AsyncExitStack()
    for _ in range(ARRIVALS_EACH):
        slot = served.arrivals.for_as_long_as_it_takes(project.id, 0.0, "")
        served.run(held.enter_async_context(slot))
    for answer in (project.client.upload(LINE), send(project.client, upload_id, LINE)):
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "as many files as it can at once" in (answer.error["message"] or "")
    assert served.project().client.upload(LINE).status == 200
    served.run(held.aclose())
    assert send(project.client, upload_id, LINE).status == 200


@pytest.mark.parametrize("name", ["filename", "purpose", "bytes", "mime_type"])
def test_what_an_upload_needs_is_asked_for(project: Project, name: str) -> None:
    body = wanted(10)
    del body[name]
    answer = project.client.post_json("/v1/uploads", body)
    assert answer.status == 400
    assert answer.error == {
        "message": f"Missing required parameter: '{name}'.",
        "type": "invalid_request_error",
        "param": name,
        "code": "missing_required_parameter",
    }


@pytest.mark.parametrize(
    ("body", "param", "code", "says"),
    [
        ({}, "part_ids", "missing_required_parameter", "Missing required parameter: 'part_ids'."),
        ({"part_ids": "part_1"}, "part_ids", "invalid_type", "expected an array of strings"),
        ({"part_ids": [1]}, "part_ids[0]", "invalid_type", "expected a string, but got an integer"),
        ({"part_ids": []}, "part_ids", None, "these parts have 0 bytes together"),
        ({"part_ids": ["part_x"]}, "part_ids", None, "the upload has no part 'part_x'"),
        ({"part_ids": ["P", "P"]}, "part_ids", None, "' is named twice"),
        ({"part_ids": ["P"], "md5": 1}, "md5", "invalid_type", "expected a string"),
        ({"part_ids": ["P"], "md5": "abc"}, "md5", None, "Invalid 'md5': expected 32 hex digits"),
        ({"part_ids": ["P"], "md5": "0" * 32}, "md5", None, "Invalid 'md5': that of the parts is"),
        ({"part_ids": ["P"], "force": True}, "force", "unknown_parameter", "Unknown parameter: 'force'."),
    ],
)
def test_a_complete_that_is_refused_leaves_the_upload_pending_and_nothing_behind(
    served: Served, project: Project, body: dict[str, Any], param: str, code: str | None, says: str
) -> None:
    upload_id = begun(project.client, len(LINE))
    part_id = sent(project.client, upload_id, LINE)
    stored = served.stored()
    if isinstance(body.get("part_ids"), list):
        body = body | {"part_ids": [part_id if id == "P" else id for id in body["part_ids"]]}
    answer = project.client.post_json(f"/v1/uploads/{upload_id}/complete", body)
    assert answer.status == 400
    error = answer.error
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert says in (error["message"] or "")
    assert served.stored() == stored
    assert complete(project.client, upload_id, part_id, md5=None).json["status"] == "completed"


def test_the_size_must_be_the_one_announced(project: Project) -> None:
    upload_id = begun(project.client, len(LINE) + 1)
    part_id = sent(project.client, upload_id, LINE)
    answer = complete(project.client, upload_id, part_id)
    assert (answer.status, answer.error["param"]) == (400, "part_ids")
    rest = sent(project.client, upload_id, b"\n")
    assert complete(project.client, upload_id, part_id, rest).status == 200


def test_an_input_of_a_batch_must_look_like_one(served: Served, project: Project) -> None:
    upload_id = begun(project.client, 5)
    part_id = sent(project.client, upload_id, b"hello")
    stored = served.stored()
    answer = complete(project.client, upload_id, part_id)
    assert (answer.status, answer.error["message"]) == (
        400,
        "Invalid file format for Batch API. Must be .jsonl",
    )
    assert served.stored() == stored
    other = begun(project.client, 5, purpose="evals")
    assert complete(project.client, other, sent(project.client, other, b"hello")).status == 200


@pytest.mark.parametrize("end", ["completed", "cancelled", "expired"])
def test_an_upload_that_has_ended_takes_nothing_more(served: Served, project: Project, end: str) -> None:
    client = project.client
    upload_id = begun(client, len(LINE))
    part_id = sent(client, upload_id, LINE)
    match end:
        case "completed":
            assert complete(client, upload_id, part_id).json["status"] == end
        case "cancelled":
            shown = cancel(client, upload_id).json
            assert (shown["id"], shown["status"], shown["file"]) == (upload_id, end, None)
        case _:
            events = [new_event(upload_id, project.id, UploadExpired())]
            rows = [Row("upload", upload_id, project.id, hidden=True)]
            served.run(served.journal.record(Decision(events, rows)))
    stored = served.stored()
    refused = {
        "add a part to": send(client, upload_id, LINE),
        "complete": complete(client, upload_id),
        "cancel": cancel(client, upload_id),
    }
    for doing, answer in refused.items():
        assert answer.status == 400
        assert answer.error == {
            "message": f"Cannot {doing} an upload with status '{end}'.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    assert served.stored() == stored


def test_an_upload_of_another_project_is_answered_like_an_unknown_one(
    served: Served, project: Project
) -> None:
    upload_id = begun(project.client, len(LINE))
    part_id = sent(project.client, upload_id, LINE)
    stranger = served.project().client
    stored = served.stored()
    for id in (upload_id, "upload_" + "0" * 32, "x" * 300):
        for answer in (send(stranger, id, LINE), complete(stranger, id, part_id), cancel(stranger, id)):
            shown = id if len(id) < 129 else id[:125] + "..."
            assert answer.status == 404
            assert answer.error == {
                "message": f"No such Upload object: {shown}",
                "type": "invalid_request_error",
                "param": "id",
                "code": None,
            }
    assert served.stored() == stored
    assert state(served, upload_id).status == "pending"


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("more", [1, 3 * MIB])
def test_a_part_that_is_too_large_is_refused_and_not_kept(
    served: Served, project: Project, announced: bool, more: int
) -> None:
    upload_id = begun(project.client, 4 * MIB, purpose="evals")
    stored = served.stored()
    body = form(file(b"x" * (OPTIONS.max_part_bytes + more), "upload", "data"))
    pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
    path = f"/v1/uploads/{upload_id}/parts"
    answer = project.client.ask("POST", path, body if announced else pieces, FORM)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, "data", None)
    assert f"a part has at most {OPTIONS.max_part_bytes} bytes" in (answer.error["message"] or "")
    assert served.stored() == stored
    assert sent(project.client, upload_id, b"x" * OPTIONS.max_part_bytes)


@pytest.mark.parametrize(
    ("parts", "code", "says"),
    [
        ([], "missing_required_parameter", "Missing required parameter: 'data'."),
        ([field("other", "x")], "missing_required_parameter", "Missing required parameter: 'data'."),
        ([file(LINE, part="data"), file(LINE, part="data")], None, "Invalid 'data': expected it once"),
    ],
)
def test_a_form_without_one_part_is_refused(
    served: Served, project: Project, parts: list[bytes], code: str | None, says: str
) -> None:
    upload_id = begun(project.client, 100)
    stored = served.stored()
    answer = project.client.ask("POST", f"/v1/uploads/{upload_id}/parts", form(*parts), FORM)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, "data", code)
    assert says in (answer.error["message"] or "")
    assert served.stored() == stored
