"""Why lines failed, those that failed alike together."""

import json
import threading
from typing import Any
from uuid import uuid4

import pytest

from events.batch import (
    Batch,
    BatchCancelled,
    BatchCancelRequested,
    BatchCompleted,
    BatchFailed,
    BatchFinalizing,
    BatchStarted,
    Usage,
)
from events.inputs.validator import LineError
from events.outcomes.cause import Cause, Failure, failure_of
from events.outcomes.failures import MOST_GROUPS, Group, failures_of
from events.outcomes.lines import TIMED_OUT, LineOutcome
from tests.api.serving import BEGAN_MS, Project, Served


def failed(line: int, status: int, message: str, code: str | None = None) -> LineOutcome:
    error = {"message": message, "code": code}
    answer = {"status_code": status, "request_id": "r", "body": {"error": error}}
    result: dict[str, object] = {"id": f"r-{line}", "custom_id": f"line-{line}"}
    result |= {"response": answer, "error": None} if status > 0 else {"response": None, "error": error}
    text = json.dumps(result).encode() + b"\n"
    return LineOutcome(line, status, 1, Usage(), BEGAN_MS / 1000, 0.1, text)


def succeeded(line: int) -> LineOutcome:
    return LineOutcome(line, 200, 1, Usage(), BEGAN_MS / 1000, 0.1, b'{"custom_id":"line-%d"}\n' % line)


def running(served: Served, project: Project) -> str:
    batch_id = project.client.created(project.client.uploaded())
    served.happen(batch_id, BatchStarted(1000, "m"))
    return batch_id


def errors(project: Project, batch_id: str) -> list[dict[str, Any]]:
    answer = project.client.get(f"/v1/batches/{batch_id}/errors")
    assert answer.status == 200, answer.body
    listed: dict[str, Any] = answer.json
    assert (listed["object"], listed["has_more"]) == ("list", False)
    data: list[dict[str, Any]] = listed["data"]
    return data


def groups(served: Served, batch_id: str, read_bytes: int) -> list[Group]:
    seen = served.run(served.journal.models.get(Batch, batch_id))
    return served.run(failures_of(served.journal.log, served.store, seen, read_bytes))


def test_lines_that_failed_alike_are_told_together(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    served.record(
        batch_id,
        succeeded(0),
        failed(1, 400, "This model takes 4096 tokens, yours are 5000.", "too_long"),
        failed(2, 400, "This model takes 4096 tokens, yours are 6000.", "too_long"),
    )
    served.record(
        batch_id, failed(5, 500, "no"), failed(6, TIMED_OUT, "no answer in 600 s", "request_timeout")
    )
    late = [failed(n, 400, f"This model takes 4096 tokens, yours are {n}.", "too_long") for n in (7, 8)]
    served.record(batch_id, *late)

    first, second, third = errors(project, batch_id)
    assert first == {
        "id": Cause(400, "too_long", "This model takes # tokens, yours are #.").id,
        "object": "batch.error",
        "status_code": 400,
        "code": "too_long",
        "message": "This model takes # tokens, yours are #.",
        "count": 4,
        "custom_ids": ["line-1", "line-2", "line-7"],
        "lines": [],
    }
    assert (second["status_code"], second["code"], second["message"]) == (500, None, "no")
    assert (third["status_code"], third["code"], third["message"]) == (
        None,
        "request_timeout",
        "no answer in # s",
    )


def test_a_batch_without_failures_has_no_errors(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    served.record(batch_id, succeeded(0))
    assert errors(project, batch_id) == []
    assert errors(project, project.client.created()) == []


def test_lines_that_were_never_run_are_told_when_the_batch_has_ended(
    served: Served, project: Project
) -> None:
    lines = [
        f'{{"custom_id":"line-{n}","method":"POST","url":"/v1/chat/completions",'
        f'"body":{{"model":"small","messages":[]}}}}\n'
        for n in range(10)
    ]
    content = "".join(lines).encode()
    batch_id = project.client.created(project.client.uploaded(content))
    served.start(batch_id, content)
    served.record(batch_id, succeeded(0), failed(2, 500, "no"))
    assert [group["count"] for group in errors(project, batch_id)] == [1]
    served.happen(
        batch_id, BatchCancelRequested(), BatchFinalizing("cancelled"), BatchCancelled("file-o", None)
    )
    unrun, _ = errors(project, batch_id)
    assert (unrun["status_code"], unrun["code"], unrun["count"]) == (None, "batch_cancelled", 8)
    assert unrun["custom_ids"] == ["line-1", "line-3", "line-4"]


def test_a_batch_that_could_not_start_has_the_errors_of_its_input(served: Served, project: Project) -> None:
    batch_id = project.client.created()
    bad = [
        LineError("model_not_found", f"The model 'm{n}' is not known.", "body.model", n) for n in range(1, 6)
    ]
    served.happen(batch_id, BatchFailed((LineError("too_many_tasks", "Over 50,000."), *bad)))
    first, second = errors(project, batch_id)
    assert (first["code"], first["message"], first["count"]) == (
        "model_not_found",
        "The model '…' is not known.",
        5,
    )
    assert (first["lines"], first["custom_ids"]) == ([1, 2, 3], [])
    assert (second["code"], second["count"], second["lines"]) == ("too_many_tasks", 1, [])


def test_past_the_budget_lines_are_counted_by_their_status(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    first = [failed(n, 400, "a", "c") for n in range(3)]
    served.record(batch_id, *first)
    served.record(batch_id, failed(3, 400, "a", "c"), failed(4, TIMED_OUT, "late", "request_timeout"))
    read = sum(len(outcome.result) for outcome in first)
    found = {group.cause: group.count for group in groups(served, batch_id, read)}
    assert found == {Cause(400, "c", "a"): 3, Cause(400): 1, Cause(None, "request_timeout"): 1}
    unread = {group.cause: group.count for group in groups(served, batch_id, 0)}
    assert unread == {Cause(400): 4, Cause(None, "request_timeout"): 1}


def test_a_thousand_causes_do_not_make_a_thousand_groups(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    names = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(MOST_GROUPS + 50)]
    served.record(batch_id, *(failed(n, 400, f"the cause {name}") for n, name in enumerate(names)))
    found = errors(project, batch_id)
    assert len(found) == MOST_GROUPS + 1
    assert (found[0]["message"], found[0]["count"]) == (None, 50)


def test_erased_answers_leave_the_counts(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    served.record(batch_id, failed(0, 400, "a", "c"))
    output_id = project.client.uploaded()
    served.happen(batch_id, BatchFinalizing("done"), BatchCompleted(output_id, None))
    project.client.ask("DELETE", f"/v1/files/{output_id}")
    served.run(served.journal.log.erase(batch_id, output_id))
    (group,) = errors(project, batch_id)
    assert (group["status_code"], group["message"], group["count"]) == (400, None, 1)


def test_another_projects_batch_is_unknown(served: Served, project: Project) -> None:
    for batch_id in (running(served, served.project()), f"batch_{uuid4().hex}", "%00"):
        answer = project.client.get(f"/v1/batches/{batch_id}/errors")
        assert answer.status == 404
        assert (answer.error["message"] or "").startswith("No batch found with id '")


def test_many_answers_are_read_beside_other_requests(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = running(served, project)
    served.record(batch_id, failed(0, 500, "Broken."), succeeded(1), failed(2, 500, "Broken."))
    read_by: list[str] = []

    def noting(result: bytes) -> Failure:
        read_by.append(threading.current_thread().name)
        return failure_of(result)

    monkeypatch.setattr("events.outcomes.flush_failures.failure_of", noting)
    told = errors(project, batch_id)
    assert read_by == ["api", "api"]
    monkeypatch.setattr("events.outcomes.flush_failures.INLINE_BYTES", 0)
    assert errors(project, batch_id) == told
    assert "api" not in read_by[2:]


def test_failures_that_are_not_read_in_time_are_asked_for_again(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = running(served, project)
    monkeypatch.setattr("api.batches.failures.PATIENCE", 0.0)
    answer = project.client.get(f"/v1/batches/{batch_id}/errors")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.error["message"] == "The failures could not be read in time. Please try again."
