"""A new batch of the lines that failed or were never run."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

import api.batches.retry
from events.batch import (
    Batch,
    BatchCancelled,
    BatchCancelRequested,
    BatchCompleted,
    BatchFailed,
    BatchFinalizing,
    Usage,
)
from events.inputs.validator import LineError
from events.outcomes.lines import LineOutcome
from tests.api.client import JSON, Answer
from tests.api.serving import BEGAN_MS, Project, Served

LINES = [
    b'{"custom_id":"line-%d", "method":"POST","url":"/v1/chat/completions",'
    b'"body":{"model":"small","messages":[{"role":"user","content":"hi"}]}}' % n
    for n in range(8)
]
CONTENT = b"\n\n".join(LINES)
DONE = BatchFinalizing("done"), BatchCompleted("file-o", "file-e")
STOPPED = BatchCancelRequested(), BatchFinalizing("cancelled"), BatchCancelled("file-o", "file-e")


def outcome(line: int, status: int = 200, message: str = "") -> LineOutcome:
    body = {"error": {"message": message, "code": None}}
    answer = {"status_code": status, "request_id": "r", "body": body}
    result = json.dumps({"custom_id": f"line-{line}", "response": answer, "error": None}).encode() + b"\n"
    return LineOutcome(line, status, 1, Usage(), BEGAN_MS / 1000, 0.1, result)


def started(served: Served, project: Project, **more: object) -> str:
    batch_id = project.client.created(project.client.uploaded(CONTENT), **more)
    served.start(batch_id, CONTENT)
    return batch_id


def completed(served: Served, project: Project, **more: object) -> str:
    """A batch of which three lines failed, for two reasons."""
    batch_id = started(served, project, **more)
    served.record(batch_id, outcome(0), outcome(1, 400, "Too long by 7."), outcome(2))
    served.record(batch_id, outcome(5), outcome(6, 500, "Broken."), outcome(7, 400, "Too long by 9."))
    served.record(batch_id, outcome(3), outcome(4))
    served.happen(batch_id, *DONE)
    return batch_id


def retry(project: Project, batch_id: str, **body: object) -> Answer:
    path = f"/v1/batches/{batch_id}/retry"
    return project.client.post_json(path, body) if body else project.client.ask("POST", path)


def keyed(project: Project, batch_id: str, key: str, **body: object) -> Answer:
    """A retry with a key in the header."""
    headers = JSON | {"Idempotency-Key": key}
    return project.client.ask("POST", f"/v1/batches/{batch_id}/retry", json.dumps(body).encode(), headers)


def content_of(project: Project, answer: Answer) -> bytes:
    assert answer.status == 200, answer.body
    return project.client.get(f"/v1/files/{answer.json['input_file_id']}/content").body


def text(*lines: int) -> bytes:
    return b"".join(LINES[line] + b"\n" for line in lines)


def test_the_lines_that_failed_become_a_new_batch(served: Served, project: Project) -> None:
    batch_id = completed(served, project, metadata={"team": "search"})
    answer = retry(project, batch_id)
    assert content_of(project, answer) == text(1, 6, 7)
    new = answer.json
    assert new["id"] != batch_id
    assert (new["status"], new["batchmill"]["retry_of"]) == ("validating", batch_id)
    assert (new["endpoint"], new["completion_window"]) == ("/v1/chat/completions", "24h")
    assert new["metadata"] == {"team": "search"}
    assert project.client.get(f"/v1/batches/{new['id']}").json == new
    assert project.client.get(f"/v1/batches/{batch_id}").json["batchmill"]["retry_of"] is None
    file = project.client.get(f"/v1/files/{new['input_file_id']}").json
    assert (file["purpose"], file["filename"]) == ("batch", f"{batch_id}_retry.jsonl")
    assert file["expires_at"] is not None


def test_what_it_reads_is_held_and_waits_for_validation(served: Served, project: Project) -> None:
    new = retry(project, completed(served, project)).json
    assert new["batchmill"]["waiting_for"] == "waiting for validation"
    assert served.run(served.board.holds_input(new["input_file_id"]))
    created = served.run(served.journal.models.get(Batch, new["id"])).state.created
    assert created.input is not None
    assert created.input.size == len(text(1, 6, 7))


def test_file_and_batch_are_recorded_together(served: Served, project: Project) -> None:
    batch_id = completed(served, project)
    head = served.run(served.journal.log.head())
    new = retry(project, batch_id).json
    events = served.run(served.journal.log.read(after=head))
    assert [(event.stream_id, event.type) for event in events] == [
        (new["input_file_id"], "FileCreated"),
        (new["id"], "BatchCreated"),
    ]
    assert {json.loads(event.metadata)["actor"] for event in events} == {project.key_id}


def test_lines_that_were_never_run_are_among_them(served: Served, project: Project) -> None:
    batch_id = started(served, project)
    served.record(batch_id, outcome(1), outcome(2, 500, "no"), outcome(4))
    served.happen(batch_id, *STOPPED)
    assert content_of(project, retry(project, batch_id)) == text(0, 2, 3, 5, 6, 7)


def test_one_group_alone_can_be_retried(served: Served, project: Project) -> None:
    batch_id = completed(served, project)
    groups = project.client.get(f"/v1/batches/{batch_id}/errors").json["data"]
    assert [group["count"] for group in groups] == [2, 1]
    parts = [content_of(project, retry(project, batch_id, group=group["id"])) for group in groups]
    assert parts == [text(1, 7), text(6)]


def test_the_group_of_lines_that_were_never_run_can_be_retried(served: Served, project: Project) -> None:
    batch_id = started(served, project)
    served.record(batch_id, outcome(0), outcome(2, 500, "no"))
    served.happen(batch_id, *STOPPED)
    group = project.client.get(f"/v1/batches/{batch_id}/errors").json["data"][0]
    assert group["code"] == "batch_cancelled"
    assert content_of(project, retry(project, batch_id, group=group["id"])) == text(1, 3, 4, 5, 6, 7)


def test_a_retry_may_have_its_own_window_and_metadata(served: Served, project: Project) -> None:
    batch_id = completed(served, project, metadata={"team": "search"})
    new = retry(project, batch_id, completion_window="5s", metadata={}).json
    assert (new["completion_window"], new["metadata"]) == ("5s", {})
    assert new["expires_at"] == new["created_at"] + 5


def test_a_retry_can_be_retried(served: Served, project: Project) -> None:
    first = retry(project, completed(served, project)).json
    served.start(first["id"], text(1, 6, 7))
    served.record(first["id"], outcome(0), outcome(1, 500, "no"), outcome(2))
    served.happen(first["id"], *DONE)
    second = retry(project, first["id"])
    assert content_of(project, second) == text(6)
    assert second.json["batchmill"]["retry_of"] == first["id"]


def test_a_retry_that_is_sent_again_with_its_key_is_the_same_batch(served: Served, project: Project) -> None:
    batch_id = completed(served, project, metadata={"team": "search"})
    group = project.client.get(f"/v1/batches/{batch_id}/errors").json["data"][0]["id"]
    wanted = {"group": group, "completion_window": "5s", "idempotency_key": "key-1"}
    first = retry(project, batch_id, **wanted)
    assert content_of(project, first) == text(1, 7)
    stored = served.stored()
    answers = [
        retry(project, batch_id, **wanted),
        retry(project, batch_id, **wanted, metadata={"team": "search"}),
        keyed(project, batch_id, "key-1", group=group, completion_window="5s"),
    ]
    assert [answer.json["id"] for answer in answers] == [first.json["id"]] * 3
    assert served.stored() == stored
    assert keyed(project, batch_id, "key-2").json["id"] != first.json["id"]


@pytest.mark.parametrize("more", [{"group": "its"}, {"completion_window": "5s"}, {"metadata": {"a": "b"}}])
def test_the_key_of_another_retry_is_a_conflict(
    served: Served, project: Project, more: dict[str, object]
) -> None:
    batch_id = completed(served, project)
    if "group" in more:
        more = {"group": project.client.get(f"/v1/batches/{batch_id}/errors").json["data"][0]["id"]}
    made = keyed(project, batch_id, "key-1").json["id"]
    for answer in (
        keyed(project, batch_id, "key-1", **more),
        keyed(project, completed(served, project), "key-1"),
        project.client.create("file-none", idempotency_key="key-1"),
    ):
        assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")
        assert (answer.error["param"], answer.error["code"]) == ("idempotency_key", "idempotency_conflict")
        assert f"used before to make {made} from other parameters" in (answer.error["message"] or "")


def test_the_key_of_a_batch_is_none_of_a_retry(served: Served, project: Project) -> None:
    batch_id = completed(served, project, idempotency_key="key-1")
    for of in (batch_id, completed(served, project)):
        assert keyed(project, of, "key-1").error["code"] == "idempotency_conflict"


def test_twins_with_one_key_are_one_batch_and_one_file(served: Served, project: Project) -> None:
    batch_id = completed(served, project)
    before = len(served.stored())
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: keyed(project, batch_id, "key-1"), range(4)))
    assert len({answer.json["id"] for answer in answers}) == 1
    assert len(served.stored()) == before + 1


def test_a_twin_in_another_process_is_found_when_it_was_faster(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = completed(served, project)
    first = keyed(project, batch_id, "key-1").json
    stored = served.stored()
    made, asked = api.batches.retry._made, []

    async def not_at_first(*about: Any) -> bool:
        asked.append(about)
        return len(asked) > 1 and await made(*about)

    monkeypatch.setattr("api.batches.retry._made", not_at_first)
    assert keyed(project, batch_id, "key-1").json == first
    assert len(asked) == 2
    assert served.stored() == stored


def test_a_batch_without_such_lines_is_not_retried(served: Served, project: Project) -> None:
    batch_id = started(served, project)
    served.record(batch_id, *map(outcome, range(8)))
    served.happen(batch_id, *DONE)
    before = served.stored()
    for body, param in (({}, None), ({"group": f"cause_{0:024}"}, "group")):
        answer = retry(project, batch_id, **body)
        assert (answer.status, answer.error["param"]) == (400, param)
    assert served.stored() == before


def test_a_batch_must_have_ended(served: Served, project: Project) -> None:
    running = started(served, project)
    refused = project.client.created()
    served.happen(refused, BatchFailed((LineError("empty_file", "It is empty."),)))
    never_started = project.client.created()
    project.client.ask("POST", f"/v1/batches/{never_started}/cancel")
    for batch_id, status in ((running, "in_progress"), (refused, "failed"), (never_started, "cancelled")):
        answer = retry(project, batch_id)
        assert answer.status == 409
        assert answer.headers["x-should-retry"] == "false"
        assert f"Cannot retry a batch with status '{status}'" in (answer.error["message"] or "")


def test_lines_that_are_not_found_in_time_are_asked_for_again(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = completed(served, project)
    monkeypatch.setattr("api.batches.retry.PATIENCE", 0.0)
    answer = retry(project, batch_id)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.error["message"] == "The lines to retry could not be found in time. Please try again."


def test_without_its_input_no_line_can_be_retried(served: Served, project: Project) -> None:
    batch_id = completed(served, project)
    kept = served.run(served.journal.models.get(Batch, batch_id)).state.created.input
    assert kept is not None
    (served.folder / kept.storage_key).unlink()
    before = served.stored()
    answer = retry(project, batch_id)
    assert answer.status == 409
    assert "its lines are gone" in (answer.error["message"] or "")
    assert served.stored() == before


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"group": 7}, "group", "invalid_type"),
        ({"group": "cause_1"}, "group", "invalid_value"),
        ({"group": f"cause_{0:024}\n"}, "group", "invalid_value"),
        ({"completion_window": "3h"}, "completion_window", "invalid_value"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        ({"endpoint": "/v1/embeddings"}, "endpoint", "unknown_parameter"),
    ],
)
def test_a_wrong_request_is_refused(
    served: Served, project: Project, body: dict[str, object], param: str, code: str
) -> None:
    answer = retry(project, completed(served, project), **body)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)


def test_another_projects_batch_is_unknown(served: Served, project: Project) -> None:
    for batch_id in (completed(served, served.project()), f"batch_{uuid4().hex}", "%00"):
        answer = retry(project, batch_id)
        assert answer.status == 404
        assert (answer.error["message"] or "").startswith("No batch found with id '")
