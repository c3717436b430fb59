"""A dry run tells what a batch would be told, and leaves nothing behind."""

import asyncio
import json
from types import SimpleNamespace
from typing import IO, Any

import pytest

from events.file import File
from tests.api.client import JSON, Answer
from tests.api.serving import MIB, OPTIONS, KnownModels, Project, Served

ENDPOINT = "/v1/chat/completions"
JSONL = {"content-type": "application/jsonl"}


def request_line(custom_id: str, **more: object) -> bytes:
    body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
    request = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body} | more
    return json.dumps(request).encode() + b"\n"


GOOD = request_line("a") + request_line("b")


def validate(project: Project, content: bytes, endpoint: str = ENDPOINT, **headers: str) -> Answer:
    path = f"/v1/batchmill/validate?endpoint={endpoint}"
    return project.client.ask("POST", path, content, {**JSONL, **headers})


def validate_file(project: Project, file_id: str, **more: object) -> Answer:
    body = {"input_file_id": file_id, "endpoint": ENDPOINT} | more
    return project.client.post_json("/v1/batchmill/validate", body)


def told(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    assert not answer.json["valid"]
    data: list[dict[str, Any]] = answer.json["errors"]["data"]
    return data


def test_a_valid_input_is_said_to_be_valid(project: Project) -> None:
    expected = {
        "object": "batchmill.validation",
        "valid": True,
        "endpoint": ENDPOINT,
        "model": "small",
        "lines": 2,
        "estimated_input_tokens": sum(-(-len(line) // 4) for line in GOOD.splitlines()),
        "errors": None,
    }
    assert validate(project, GOOD).json == expected
    assert validate_file(project, project.client.uploaded(GOOD)).json == expected


@pytest.mark.parametrize(
    "content_type", ["", "application/x-ndjson", "text/plain", "application/octet-stream"]
)
def test_any_body_that_is_not_json_is_the_input(project: Project, content_type: str) -> None:
    assert validate(project, GOOD, **{"content-type": content_type}).json["valid"]


def test_the_errors_are_those_of_a_failed_batch(project: Project) -> None:
    content = b"nonsense\n" + request_line("a") + request_line("a") + request_line("c", url="/v1/x")
    for answer in (
        validate(project, content),
        validate_file(project, project.client.uploaded(b"{}\n" + content)),
    ):
        codes = [error["code"] for error in told(answer)][-3:]
        assert codes == ["invalid_json_line", "duplicate_custom_id", "invalid_url"]
    assert told(validate(project, content))[1] == {
        "code": "duplicate_custom_id",
        "message": "The custom_id 'a' for this request is a duplicate of another request. "
        "The custom_id parameter must be unique for each request in a batch.",
        "param": "custom_id",
        "line": 3,
    }
    assert validate(project, content).json["lines"] == 4


def test_models_are_held_against_those_of_the_upstream(served: Served, project: Project) -> None:
    content = request_line("a", body={"model": "other", "messages": []})
    assert [error["code"] for error in told(validate(project, content))] == ["model_not_found"]
    assert isinstance(served.models, KnownModels)
    known = served.models.ids
    served.models.ids = None
    try:
        assert validate(project, content).json["valid"]
    finally:
        served.models.ids = known


def test_an_input_that_is_wrong_throughout_is_not_read_to_its_end(project: Project) -> None:
    answer = validate(project, b"x\n" * 500)
    assert len(told(answer)) == 100
    assert (answer.json["lines"], answer.json["estimated_input_tokens"]) == (None, None)


def test_too_many_lines_are_refused(project: Project) -> None:
    lines = [b'{"custom_id":"%d"}\n' % n for n in range(3)]
    assert told(validate(project, b""))[0]["code"] == "empty_file"
    assert [error["line"] for error in told(validate(project, b"".join(lines)))] == [1, 2, 3]


def test_a_file_of_nobody_or_of_another_project_is_unknown(served: Served, project: Project) -> None:
    others = served.project().client.uploaded(GOOD)
    for file_id in (others, "file-none", "%00"):
        (error,) = told(validate_file(project, file_id))
        assert (error["code"], error["param"]) == ("invalid_request", "file_id")
        assert error["message"].startswith(f"Cannot find file {file_id}, or organization {project.id} ")


def test_a_file_that_is_erased_meanwhile_is_unknown(served: Served, project: Project) -> None:
    file_id = project.client.uploaded(GOOD)
    kept = served.run(served.journal.models.get(File, file_id)).state.created.storage_key
    (served.folder / kept).unlink()
    (error,) = told(validate_file(project, file_id))
    assert error["message"].startswith(f"Cannot find file {file_id}, or organization {project.id} ")


def test_a_file_that_is_not_read_in_time_is_asked_for_again(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def for_ever(*_: object) -> None:
        await asyncio.Event().wait()

    file_id = project.client.uploaded(request_line("a") + request_line("a"))
    monkeypatch.setattr("api.batches.validation._READ_TIMEOUT", 0.01)
    monkeypatch.setattr(served.store, "read", for_ever, raising=False)
    answer = validate_file(project, file_id)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.error["message"] == "The input could not be checked in time. Please try again."


def test_a_dry_run_that_takes_too_long_is_ended(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id = project.client.uploaded(GOOD)
    monkeypatch.setattr("api.batches.validation._PATIENCE", 0.0)
    assert [validate(project, GOOD).status, validate_file(project, file_id).status] == [503, 503]


def test_a_body_for_which_there_is_no_room_is_refused_before_it_is_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nearly_full(folder: object) -> SimpleNamespace:
        assert folder == OPTIONS.spill_folder
        return SimpleNamespace(free=OPTIONS.free_space_floor + len(GOOD) - 1)

    monkeypatch.setattr("api.space.disk_usage", nearly_full)
    answer = validate(project, GOOD)
    assert (answer.status, answer.headers["x-should-retry"]) == (507, "false")
    assert f"keeps {OPTIONS.free_space_floor} bytes of its disk free" in (answer.error["message"] or "")
    assert validate(project, GOOD[1:-1]).status == 200


def test_a_disk_that_becomes_full_is_said(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(dir: object) -> IO[bytes]:
        return open("/dev/full", "w+b")

    monkeypatch.setattr("api.batches.validation.TemporaryFile", full)
    answer = validate(project, GOOD)
    assert (answer.status, answer.error["type"]) == (507, "server_error")
    assert "no room left" in (answer.error["message"] or "")


def test_a_dry_run_leaves_nothing_behind(served: Served, project: Project) -> None:
    before, head = served.stored(), served.run(served.journal.log.head())
    assert validate(project, GOOD).json["valid"]
    assert served.stored() == before
    assert served.run(served.journal.log.head()) == head


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"endpoint": ENDPOINT}, "input_file_id", "missing_required_parameter"),
        ({"input_file_id": "file-x"}, "endpoint", "missing_required_parameter"),
        ({"input_file_id": "file-x", "endpoint": "/v1/x"}, "endpoint", "invalid_value"),
        ({"input_file_id": "file-x", "endpoint": ENDPOINT, "x": 1}, "x", "unknown_parameter"),
    ],
)
def test_a_wrong_question_is_refused(project: Project, body: object, param: str, code: str) -> None:
    answer = project.client.post_json("/v1/batchmill/validate", body)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)


def test_the_endpoint_of_a_body_is_in_the_query(project: Project) -> None:
    missing = project.client.ask("POST", "/v1/batchmill/validate", GOOD, JSONL)
    assert (missing.status, missing.error["param"]) == (400, "endpoint")
    wrong = validate(project, GOOD, "/v1/x")
    assert (wrong.status, wrong.error["code"]) == (400, "invalid_value")


def test_an_endpoint_in_the_query_must_be_one_also_beside_a_body_that_names_one(project: Project) -> None:
    body = {"input_file_id": "file-none", "endpoint": "/v1/chat/completions"}
    answer = project.client.post_json("/v1/batchmill/validate?endpoint=/v1/x", body)
    assert (answer.error["param"], answer.error["code"]) == ("endpoint", "invalid_value")


def test_what_is_for_something_else_is_refused(project: Project) -> None:
    answer = validate_file(project, project.client.uploaded(GOOD, purpose="user_data"))
    assert (answer.status, answer.error["param"]) == (400, "input_file_id")


def test_a_body_has_the_limit_of_an_input_file(project: Project) -> None:
    assert validate(project, b" " * (2 * MIB + 1)).status == 413
    assert project.client.ask("POST", "/v1/batchmill/validate", b" " * (2 * MIB), JSON).status == 413
