"""Why a batch does not move."""

from typing import Any

import pytest

from api.batches.waiting import why_waiting
from events.work import OpenBatch


def on_board(phase: str, **more: Any) -> OpenBatch:
    fields: dict[str, Any] = {
        "batch_id": "b",
        "project_id": "p",
        "phase": phase,
        "input_file_id": "f",
        "model": "m",
        "total": 10,
        "next_line": 0,
        "waiting": None,
        "expires_in": 1.0,
        "stop_in": None,
        "since": 1.0,
        "held": 0,
        "free": 0,
        "open_lines": 0,
    }
    return OpenBatch(**(fields | more))


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        (on_board("planning"), "waiting for validation"),
        (on_board("running"), "waiting for a worker"),
        (on_board("running", next_line=10, free=1, open_lines=10), "waiting for a worker"),
        (on_board("running", next_line=10, held=1, open_lines=10), None),
        (on_board("running", next_line=10), "waiting for the result files"),
        (on_board("running", waiting="disk below floor"), "disk below floor"),
        (on_board("stopping", held=1, open_lines=2), "waiting for lines in flight to end"),
        (on_board("stopping"), "waiting for the result files"),
        (on_board("finalizing"), "waiting for the result files"),
    ],
)
def test_why_a_batch_waits(batch: OpenBatch, why: str | None) -> None:
    assert why_waiting(batch) == why
