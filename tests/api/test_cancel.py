"""Cancelling a batch, wherever it is in its life."""

import pytest

from events.batch import (
    BatchCancelled,
    BatchCompleted,
    BatchEvent,
    BatchExpired,
    BatchExpiryReached,
    BatchFailed,
    BatchFinalizing,
    BatchStarted,
)
from events.log import Board
from tests.api.client import JSON, Answer
from tests.api.serving import Project, Served


def phase(served: Served, batch_id: str) -> str | None:
    board = served.run(served.board.open_batches([batch_id]))
    return board[0].phase if board else None


def cancel(project: Project, batch_id: str) -> Answer:
    """As the Python SDK asks: a JSON content type, and no body."""
    return project.client.ask("POST", f"/v1/batches/{batch_id}/cancel", b"", JSON)


def test_cancelling_in_validation_ends_the_batch_at_once(served: Served, project: Project) -> None:
    batch_id = project.client.created(project.client.uploaded())
    shown = cancel(project, batch_id).json
    assert shown["status"] == "cancelled"
    assert shown["cancelling_at"] is not None
    assert shown["cancelled_at"] is not None
    assert shown["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert phase(served, batch_id) is None
    assert cancel(project, batch_id).json == shown


def test_cancelling_a_running_batch_stops_it(served: Served, project: Project) -> None:
    batch_id = project.client.created(project.client.uploaded())
    running = Board(batch_id, project.id, phase="running", model="m", total=3)
    served.happen(batch_id, BatchStarted(3, "m"), board=running)
    shown = cancel(project, batch_id).json
    assert shown["status"] == "cancelling"
    assert shown["cancelling_at"] is not None
    assert shown["finalizing_at"] is None
    (board,) = served.run(served.board.open_batches([batch_id]))
    assert board.phase == "stopping"
    assert board.stop_in is not None
    assert 0 < board.stop_in <= 30

    again = cancel(project, batch_id)
    assert again.status == 200
    assert again.json == shown
    assert len(served.run(served.journal.log.stream(batch_id))) == 3

    served.happen(batch_id, BatchFinalizing("cancelled"))
    assert project.client.get(f"/v1/batches/{batch_id}").json["finalizing_at"] is None
    served.happen(batch_id, BatchCancelled("file-o", "file-e"))
    assert cancel(project, batch_id).json["status"] == "cancelled"


def test_cancelling_while_the_files_are_written_leaves_them_to_be_written(
    served: Served, project: Project
) -> None:
    for reason in ("done", "expired"):
        batch_id = project.client.created(project.client.uploaded())
        finalizing = Board(batch_id, project.id, phase="finalizing", revoke=True)
        served.happen(batch_id, BatchStarted(3, "m"))
        if reason == "expired":
            served.happen(batch_id, BatchExpiryReached())
        served.happen(batch_id, BatchFinalizing("done" if reason == "done" else "expired"), board=finalizing)
        assert cancel(project, batch_id).json["status"] == "cancelling"
        assert phase(served, batch_id) == "finalizing"


@pytest.mark.parametrize("status", ["completed", "failed", "expired"])
def test_a_batch_that_ended_otherwise_cannot_be_cancelled(
    served: Served, project: Project, status: str
) -> None:
    batch_id = project.client.created(project.client.uploaded())
    ends: dict[str, list[BatchEvent]] = {
        "failed": [BatchFailed(())],
        "completed": [BatchStarted(1, "m"), BatchFinalizing("done"), BatchCompleted(None, None)],
        "expired": [
            BatchStarted(1, "m"),
            BatchExpiryReached(),
            BatchFinalizing("expired"),
            BatchExpired(None, None),
        ],
    }
    served.happen(batch_id, *ends[status])
    answer = cancel(project, batch_id)
    assert answer.status == 409
    assert answer.headers["x-should-retry"] == "false"
    assert answer.error == {
        "message": f"Cannot cancel a batch with status '{status}'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
