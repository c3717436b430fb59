"""The time line of a batch, and a batch as it was."""

import time
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from api.batches.past import EVENTS
from events.batch import BatchFinalizing, BatchStarted
from events.log import Board
from tests.api.serving import Project, Served
from tests.api.test_batch_events import LIFE, ended


def test_a_time_line_says_who_and_what_and_how_long(served: Served, project: Project) -> None:
    batch_id = ended(served, project)
    answer = project.client.get(f"/v1/batches/{batch_id}/history")
    assert answer.status == 200
    entries = answer.json["data"]
    assert [entry["name"] for entry in entries] == [
        *("created", "planning", "validated", "queued", "running", "finalizing", "writing_files", "completed")
    ]
    assert [entry["id"] for entry in entries] == [str(n) for n in range(1, 9)]
    assert entries[0]["actors"] == [project.key_id]
    assert entries[4]["actors"] == ["worker-1"]
    assert (entries[4]["first_event"], entries[4]["last_event"]) == ("3", "3")
    for entry in entries:
        assert entry["seconds"] == pytest.approx(entry["ended_at"] - entry["began_at"], abs=0.01)


def test_it_says_what_a_batch_waits_for_and_waited_for(served: Served, project: Project) -> None:
    batch_id = project.client.created(project.client.uploaded())
    served.happen(batch_id, BatchStarted(2, "m"), board=Board(batch_id, project.id, "running", total=2))

    def waits() -> list[tuple[str, bool]]:
        entries = project.client.get(f"/v1/batches/{batch_id}/history").json["data"]
        return [(e["why"], e["ended_at"] is None) for e in entries if e["name"] == "waiting"]

    for reason in ("route paused: no answer", None, "waiting for room: 2 of 1", "waiting for room: 1 of 1"):
        served.run(served.board.explain({batch_id: reason}))
        time.sleep(0.12)  # what is shorter is forgotten
    assert waits() == [("route paused: no answer", False), ("waiting for room: 2 of 1", True)]
    waiting_since = time.time()
    served.happen(
        batch_id, BatchFinalizing("done"), board=Board(batch_id, project.id, "finalizing", revoke=True)
    )
    assert waits() == [("route paused: no answer", False), ("waiting for room: 2 of 1", False)]
    then = project.client.get(f"/v1/batches/{batch_id}?at={waiting_since:.3f}").json
    assert then["batchmill"]["waiting_for"] == "waiting for room: 2 of 1"
    assert then["status"] == "in_progress"


def test_a_batch_is_shown_as_it_was_after_an_event_or_at_a_time(served: Served, project: Project) -> None:
    before = time.time() - 1
    batch_id = ended(served, project)

    def at(moment: object) -> object:
        answer = project.client.get(f"/v1/batches/{batch_id}?at={quote(str(moment))}")
        return answer.json["status"] if answer.status == 200 else answer.status

    assert [at(event) for event in range(7)] == [
        *(404, "validating", "in_progress", "in_progress", "finalizing", "completed", "completed")
    ]
    now = datetime.now(UTC)
    assert at(f"{now.timestamp() + 1:.3f}") == at((now.replace(year=now.year + 1)).isoformat()) == "completed"
    assert at(f"{before:.3f}") == at("2001-01-01T00:00") == at(EVENTS) == 404
    counts = project.client.get(f"/v1/batches/{batch_id}?at=3").json["request_counts"]
    assert counts == {"total": 2, "completed": 1, "failed": 1}
    assert len(LIFE) == 4


@pytest.mark.parametrize(
    "moment", ["", "yesterday", "-1", "1e9", "2026-13-01T00:00:00Z", "9" * 12, "2026-01-01"]
)
def test_what_is_no_moment_is_refused(project: Project, moment: str) -> None:
    batch_id = project.client.created(project.client.uploaded())
    answer = project.client.get(f"/v1/batches/{batch_id}?at={moment}")
    assert (answer.status, answer.error["param"]) == (400, "at")


def test_another_projects_batch_has_no_past(served: Served, project: Project) -> None:
    batch_id = ended(served, served.project())
    for path in ("/history", "?at=1"):
        assert project.client.get(f"/v1/batches/{batch_id}{path}").status == 404
