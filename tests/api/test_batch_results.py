"""The results of a batch while it runs: what was recorded so far, and where to go on."""

import random
from uuid import uuid4

import pytest

from events.batch import (
    BatchCancelled,
    BatchCancelRequested,
    BatchCompleted,
    BatchFailed,
    BatchFinalizing,
    BatchStarted,
    Usage,
)
from events.inputs.validator import LineError
from events.outcomes.lines import LineOutcome
from tests.api.client import Answer
from tests.api.serving import BEGAN_MS, Project, Served


def outcome(line: int, status: int = 200) -> LineOutcome:
    result = b'{"custom_id":"line-%d","pad":"%b"}\n' % (line, b"x" * random.Random(line).randrange(200))
    return LineOutcome(line, status, 1, Usage(), BEGAN_MS / 1000, 0.1, result)


def running(served: Served, project: Project, total: int = 100) -> str:
    batch_id = project.client.created(project.client.uploaded())
    served.happen(batch_id, BatchStarted(total, "m"))
    return batch_id


def results(project: Project, batch_id: str, query: str = "") -> Answer:
    answer = project.client.get(f"/v1/batches/{batch_id}/results{query}")
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/x-ndjson"
    return answer


def told(answer: Answer) -> tuple[str, str]:
    return answer.headers["x-last-line"], answer.headers["x-incomplete"]


def test_a_client_reads_on_while_the_batch_runs(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    first = results(project, batch_id)
    assert (first.body, *told(first)) == (b"", "0", "true")

    early = [outcome(7), outcome(9, 500)]
    served.record(batch_id, *early)
    second = results(project, batch_id)
    assert (second.body, *told(second)) == (b"".join(o.result for o in early), "2", "true")

    late = [outcome(0), outcome(1), outcome(8)]
    served.record(batch_id, *late)
    third = results(project, batch_id, "?offset=2")
    assert (third.body, *told(third)) == (b"".join(o.result for o in late), "5", "true")

    served.happen(batch_id, BatchFinalizing("done"))
    last = results(project, batch_id, "?offset=5")
    assert (last.body, *told(last)) == (b"", "5", "false")


def test_the_order_never_changes_and_every_offset_is_a_place_in_it(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    lines = list(range(40))
    random.Random(7).shuffle(lines)
    flushes = [sorted(lines[at : at + 8]) for at in range(0, 40, 8)]
    for flush in flushes:
        served.record(batch_id, *map(outcome, flush))
    served.happen(batch_id, BatchFinalizing("done"), BatchCompleted("file-o", None))
    expected = [outcome(line).result for flush in flushes for line in flush]
    for offset in (0, 1, 7, 8, 9, 39, 40):
        answer = results(project, batch_id, f"?offset={offset}")
        assert answer.body == b"".join(expected[offset:])
        assert told(answer) == ("40", "false")


@pytest.mark.parametrize("step", [1, 7, 8, 20, 100])
def test_a_limit_cuts_the_answer_and_says_so(served: Served, project: Project, step: int) -> None:
    batch_id = running(served, project)
    for first in range(0, 24, 8):
        served.record(batch_id, *(outcome(line) for line in range(first, first + 8)))
    served.happen(batch_id, BatchFinalizing("done"))
    found, offset, more = b"", "0", "true"
    while more == "true":
        answer = results(project, batch_id, f"?offset={offset}&limit={step}")
        assert answer.body.count(b"\n") <= step
        found += answer.body
        offset, more = told(answer)
    assert found == b"".join(outcome(line).result for line in range(24))
    assert offset == "24"


def test_skip_is_another_name_of_the_offset(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    served.record(batch_id, outcome(0), outcome(1))
    assert results(project, batch_id, "?skip=1").body == outcome(1).result


def test_an_offset_past_the_end_stays_where_it_is(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    served.record(batch_id, outcome(0))
    answer = results(project, batch_id, f"?offset={10**30}")
    assert (answer.body, *told(answer)) == (b"", str(10**30), "true")


def test_a_cancelled_batch_keeps_what_was_recorded(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    served.record(batch_id, outcome(3))
    served.happen(
        batch_id, BatchCancelRequested(), BatchFinalizing("cancelled"), BatchCancelled("file-o", None)
    )
    answer = results(project, batch_id)
    assert (answer.body, *told(answer)) == (outcome(3).result, "1", "false")


def test_a_batch_that_was_never_run_has_no_results(served: Served, project: Project) -> None:
    batch_id = project.client.created()
    assert told(results(project, batch_id)) == ("0", "true")
    served.happen(batch_id, BatchFailed((LineError("empty_file", "It is empty."),)))
    assert told(results(project, batch_id)) == ("0", "false")


def test_the_head_tells_where_one_would_be(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    served.record(batch_id, outcome(0), outcome(1))
    head = project.client.ask("HEAD", f"/v1/batches/{batch_id}/results")
    assert (head.status, head.body, *told(head)) == (200, b"", "2", "true")


def test_erased_results_are_not_found(served: Served, project: Project) -> None:
    batch_id = running(served, project)
    served.record(batch_id, outcome(0))
    output_id = project.client.uploaded()
    served.happen(batch_id, BatchFinalizing("done"), BatchCompleted(output_id, None))
    project.client.ask("DELETE", f"/v1/files/{output_id}")
    assert served.run(served.journal.log.erase(batch_id, output_id)) == 1
    answer = project.client.get(f"/v1/batches/{batch_id}/results")
    assert answer.status == 404
    assert "erased with its output file" in (answer.error["message"] or "")


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("offset=-1", "offset", "integer_below_min_value"),
        ("offset=x", "offset", "invalid_type"),
        ("skip=x", "skip", "invalid_type"),
        ("limit=0", "limit", "integer_below_min_value"),
    ],
)
def test_a_wrong_query_is_refused(project: Project, query: str, param: str, code: str) -> None:
    answer = project.client.get(f"/v1/batches/{project.client.created()}/results?{query}")
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)


def test_another_projects_batch_is_unknown(served: Served, project: Project) -> None:
    others = running(served, served.project())
    for batch_id in (others, f"batch_{uuid4().hex}", "%00"):
        answer = project.client.get(f"/v1/batches/{batch_id}/results")
        assert answer.status == 404
        assert (answer.error["message"] or "").startswith("No batch found with id '")
