"""A request that is sent again with its idempotency key makes nothing twice."""

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.api.client import FORM, JSON, Answer, Client, batch_body, field, file, form, spoken
from tests.api.serving import Project, Served
from tests.api.uploading import LINE, complete, sent, wanted

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "send-again.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def create(client: Client, key: str, file_id: str = "file-none", **more: object) -> Answer:
    """Creates a batch with a key in the header."""
    body = json.dumps(batch_body(file_id) | more).encode()
    return client.ask("POST", "/v1/batches", body, JSON | {"Idempotency-Key": key})


def ids(project: Project) -> list[str]:
    return [shown["id"] for shown in project.client.get("/v1/batches").json["data"]]


def test_the_same_request_again_is_answered_with_the_same_batch(project: Project) -> None:
    file_id = project.client.uploaded()
    first = create(project.client, "key-1", file_id, metadata={"a": "b"})
    again = create(project.client, "key-1", file_id, metadata={"a": "b"})
    assert (first.status, again.status) == (200, 200)
    assert again.json == first.json
    assert ids(project) == [first.json["id"]]


def test_the_key_may_stand_in_the_body(project: Project) -> None:
    first = project.client.create("file-none", idempotency_key="key-1")
    assert first.status == 200
    assert "idempotency_key" not in first.json
    assert project.client.create("file-none", idempotency_key="key-1").json["id"] == first.json["id"]
    assert create(project.client, "key-1").json["id"] == first.json["id"]
    assert create(project.client, "key-1", idempotency_key="key-1").json["id"] == first.json["id"]
    assert create(project.client, "key-1", idempotency_key=None).json["id"] == first.json["id"]


def test_other_keys_and_no_key_make_other_batches(project: Project) -> None:
    made = [create(project.client, "key-1"), create(project.client, "key-2")]
    made += [project.client.create("file-none"), project.client.create("file-none")]
    assert len({answer.json["id"] for answer in made}) == 4


@pytest.mark.parametrize(
    "more",
    [
        {"input_file_id": "file-other"},
        {"endpoint": "/v1/embeddings"},
        {"completion_window": "5s"},
        {"metadata": {"a": "b"}},
        {"output_expires_after": {"anchor": "created_at", "seconds": 3600}},
    ],
)
def test_the_key_of_another_request_is_a_conflict(project: Project, more: Mapping[str, object]) -> None:
    made = project.client.create("file-none", idempotency_key="key-1").json["id"]
    answer = project.client.create("file-none", idempotency_key="key-1", **more)
    assert answer.status == 409
    assert answer.headers["x-should-retry"] == "false"
    assert answer.error == {
        "message": f"Idempotency conflict: the key 'key-1' was used before to make {made} from other "
        "parameters. Send another 'idempotency_key' with a request for something else.",
        "type": "invalid_request_error",
        "param": "idempotency_key",
        "code": "idempotency_conflict",
    }
    assert ids(project) == [made]


def test_what_became_of_the_batch_since_is_shown(project: Project) -> None:
    file_id = project.client.uploaded()
    made = create(project.client, "key-1", file_id).json["id"]
    project.client.ask("POST", f"/v1/batches/{made}/cancel")
    project.client.ask("DELETE", f"/v1/files/{file_id}")
    again = create(project.client, "key-1", file_id)
    assert (again.json["id"], again.json["status"]) == (made, "cancelled")


def test_a_request_that_was_refused_leaves_its_key_free(project: Project) -> None:
    wrong = project.client.uploaded(purpose="user_data")
    assert create(project.client, "key-1", wrong).status == 400
    assert create(project.client, "key-1").status == 200


def test_projects_do_not_share_keys(served: Served, project: Project) -> None:
    made = create(project.client, "key-1").json["id"]
    stranger = create(served.project().client, "key-1", endpoint="/v1/embeddings")
    assert stranger.status == 200
    assert stranger.json["id"] != made


def test_twins_at_the_same_moment_are_one(served: Served, project: Project) -> None:
    file_id = project.client.uploaded()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: create(project.client, "key-1", file_id), range(8)))
    assert {answer.status for answer in answers} == {200}
    [made] = {answer.json["id"] for answer in answers}
    assert ids(project) == [made]
    assert len(served.run(served.journal.log.stream(made))) == 1
    assert len(served.run(served.board.open_batches([made]))) == 1


def test_of_different_requests_with_one_key_at_the_same_moment_one_is_made(project: Project) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: create(project.client, "key-1", metadata={"n": str(n % 2)}), range(8))
        )
    assert {answer.status for answer in answers} == {200, 409}
    [made] = ids(project)
    assert {answer.json["id"] for answer in answers if answer.status == 200} == {made}


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"idempotency_key": 7}, "invalid_type", "expected a string, but got an integer instead."),
        ({"idempotency_key": ""}, "empty_string", "Expected a string with minimum length 1"),
        ({"idempotency_key": "x" * 256}, "string_above_max_length", "maximum length 255"),
    ],
)
def test_what_is_no_key(project: Project, body: Mapping[str, object], code: str, message: str) -> None:
    answer = project.client.create("file-none", **body)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == ("idempotency_key", code)
    assert message in (answer.error["message"] or "")
    assert ids(project) == []


def test_any_characters_make_a_key(project: Project) -> None:
    keys = ["x" * 255, "\x00", "a b|c", "schlüssel", "\U0001f600"]
    made = [project.client.create("file-none", idempotency_key=key).json["id"] for key in keys]
    assert len(set(made)) == len(keys)


def test_two_keys_in_one_request_are_refused(served: Served, project: Project) -> None:
    answer = create(project.client, "key-1", idempotency_key="key-2")
    assert answer.status == 400
    assert answer.error["param"] == "idempotency_key"
    twice = spoken(
        served.port,
        b"POST /v1/batches HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"idempotency-key: a\r\nidempotency-key: b\r\n\r\n",
    )
    assert twice.startswith(b"HTTP/1.1 400 ")
    assert b"Invalid 'Idempotency-Key': expected it once, but got it again." in twice


def upload(project: Project, key: str, content: bytes = b"{}\n", **more: str) -> Answer:
    """Uploads a file with a key."""
    parts = form(field("purpose", more.pop("purpose", "batch")), file(content, more.pop("name", "in.jsonl")))
    return project.client.ask("POST", "/v1/files", parts, FORM | {"Idempotency-Key": key})


def test_the_same_file_again_is_the_same_file_and_takes_no_space(served: Served, project: Project) -> None:
    first = upload(project, "key-1")
    stored = served.stored()
    again = upload(project, "key-1")
    assert (first.status, again.status) == (200, 200)
    assert again.json == first.json
    assert re.fullmatch(r"file-[0-9A-Za-z]{22}", first.json["id"])
    assert len(project.client.get("/v1/files").json["data"]) == 1
    assert served.stored() == stored
    assert project.client.get(f"/v1/files/{first.json['id']}/content").body == b"{}\n"
    assert create(project.client, "key-1", first.json["id"]).status == 200


def test_files_uploaded_at_the_same_moment_with_one_key_are_one(served: Served, project: Project) -> None:
    before = len(served.stored())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: upload(project, "key-1"), range(8)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json["id"] for answer in answers}) == 1
    assert len(served.stored()) == before + 1


@pytest.mark.parametrize("other", [{"content": b"[]\n"}, {"name": "other.jsonl"}, {"purpose": "user_data"}])
def test_the_key_of_another_file_is_a_conflict(
    served: Served, project: Project, other: Mapping[str, Any]
) -> None:
    made = upload(project, "key-1").json["id"]
    stored = served.stored()
    answer = upload(project, "key-1", **other)
    assert answer.status == 409
    assert (answer.error["param"], answer.error["code"]) == ("idempotency_key", "idempotency_conflict")
    assert f"make {made} from other parameters or other content" in (answer.error["message"] or "")
    assert served.stored() == stored


def test_the_key_of_a_file_that_is_gone_is_a_conflict(project: Project) -> None:
    made = upload(project, "key-1").json["id"]
    project.client.ask("DELETE", f"/v1/files/{made}")
    answer = upload(project, "key-1")
    assert answer.status == 409
    assert "a file that is gone" in (answer.error["message"] or "")


def begin(project: Project, key: str | None, size: int = len(LINE), **more: object) -> Answer:
    """Begins an upload in parts, with a key in the header unless it is None."""
    headers = JSON if key is None else JSON | {"Idempotency-Key": key}
    return project.client.ask("POST", "/v1/uploads", json.dumps(wanted(size, **more)).encode(), headers)


def test_an_upload_that_is_begun_again_is_the_same_upload_as_it_is_by_now(project: Project) -> None:
    first = begin(project, "key-1")
    upload_id = first.json["id"]
    assert re.fullmatch(r"upload_[0-9a-f]{32}", upload_id)
    assert begin(project, "key-1").json == first.json
    assert begin(project, None, idempotency_key="key-1").json == first.json
    assert begin(project, "key-2").json["id"] != upload_id
    completed = complete(project.client, upload_id, sent(project.client, upload_id, LINE))
    assert completed.json["file"]["bytes"] == len(LINE)
    assert begin(project, "key-1").json == completed.json


def test_uploads_begun_at_the_same_moment_with_one_key_are_one(served: Served, project: Project) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: begin(project, "key-1"), range(8)))
    assert {answer.status for answer in answers} == {200}
    [upload_id] = {answer.json["id"] for answer in answers}
    assert len(served.run(served.journal.log.stream(upload_id))) == 1


@pytest.mark.parametrize("other", [{"size": 7}, {"filename": "other.jsonl"}, {"mime_type": "text/plain"}])
def test_the_key_of_another_upload_is_a_conflict(project: Project, other: Mapping[str, Any]) -> None:
    made = begin(project, "key-1").json["id"]
    answer = begin(project, "key-1", **other)
    assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")
    assert (answer.error["param"], answer.error["code"]) == ("idempotency_key", "idempotency_conflict")
    assert f"make {made} from other parameters" in (answer.error["message"] or "")


def test_the_examples_of_the_page_print_what_it_says(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{served.port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", project.key)
    page = PAGE.read_text("utf-8")
    examples = EXAMPLE.findall(page)
    assert len(examples) == page.count("```python") == 2
    names: dict[str, object] = {"input_file_id": project.client.uploaded()}
    for example, printed in examples:
        output = StringIO()
        with redirect_stdout(output):
            exec(example, names)
        assert output.getvalue() == printed
