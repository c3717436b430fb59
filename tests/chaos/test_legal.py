"""A check that cannot fail is a defect: every rule of a batch's looks is broken here once."""

from typing import Any, Final

import pytest

from tests.chaos.legal import breaches

WINDOW: Final = 5


def batch(status: str, completed: int = 0, failed: int = 0, **fields: Any) -> dict[str, Any]:
    """A batch of three lines as the API shows it, before it has begun unless `fields` say otherwise."""
    started = fields.get("in_progress_at") is not None
    used = {"input_tokens": 7 * completed, "output_tokens": 5 * completed}
    return {
        "status": status,
        "created_at": 100,
        "expires_at": 100 + WINDOW,
        "request_counts": {"total": 3 if started else 0, "completed": completed, "failed": failed},
        "usage": used if started else None,
        "errors": [] if status == "failed" else None,
        "output_file_id": None,
        "error_file_id": None,
        **dict.fromkeys(("in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at")),
        **dict.fromkeys(("cancelling_at", "cancelled_at")),
        **fields,
    }


DONE: Final[dict[str, Any]] = {
    "in_progress_at": 101,
    "finalizing_at": 102,
    "completed_at": 103,
    "output_file_id": "o",
}
CUT: Final[dict[str, Any]] = {"in_progress_at": 101, "output_file_id": "o", "error_file_id": "e"}
GOOD: Final = [
    batch("validating"),
    batch("failed", failed_at=101),
    batch("in_progress", 1, 1, in_progress_at=101),
    batch("finalizing", 3, in_progress_at=101, finalizing_at=102),
    batch("completed", 3, **DONE),
    batch("completed", 2, 1, **DONE, error_file_id="e"),
    batch("expired", 1, **CUT, expired_at=105),
    batch("cancelling", 1, in_progress_at=101, cancelling_at=102),
    batch("cancelled", 1, **CUT, cancelling_at=102, cancelled_at=103),
    batch("cancelled", cancelling_at=101, cancelled_at=101),
]
BAD: Final = {
    "another window": batch("validating", expires_at=106),
    "no end": batch("completed", 3, **DONE | {"completed_at": None}),
    "two ends": batch("completed", 3, **DONE, expired_at=105),
    "never started": batch("in_progress"),
    "started before validation": batch("validating", in_progress_at=101),
    "never asked to cancel": batch("cancelled", cancelled_at=101),
    "finalizing without a time": batch("finalizing", 3, in_progress_at=101),
    "out of order": batch("completed", 3, **DONE | {"finalizing_at": 100}),
    "expired early": batch("expired", 1, **CUT, expired_at=104),
    "a file too early": batch("in_progress", 1, in_progress_at=101, output_file_id="o"),
    "no file": batch("completed", 3, **DONE | {"output_file_id": None}),
    "an empty file": batch("completed", 3, **DONE, error_file_id="e"),
    "errors of a batch that ran": batch("completed", 3, **DONE, errors=[]),
    "lines left": batch("completed", 2, **DONE, error_file_id="e"),
    "more lines than there are": batch("in_progress", 3, 1, in_progress_at=101),
    "lines of a failed batch": batch("failed", 0, 1, failed_at=101),
    "tokens of nobody": batch("validating", usage={}),
    "other tokens": batch("completed", 3, **DONE, usage={"input_tokens": 0, "output_tokens": 0}),
}


@pytest.mark.parametrize("good", GOOD, ids=[f"{n} {one['status']}" for n, one in enumerate(GOOD)])
def test_what_may_be_is_no_breach(good: dict[str, Any]) -> None:
    assert breaches(good, WINDOW) == []


@pytest.mark.parametrize("what", BAD)
def test_what_may_not_be_is_a_breach(what: str) -> None:
    assert breaches(BAD[what], WINDOW) != []
