"""May a batch look like this? A pure reading of one answer of the API."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.upstream import COMPLETION_TOKENS, PROMPT_TOKENS

ENDS: Final = {
    "completed": "completed_at",
    "failed": "failed_at",
    "expired": "expired_at",
    "cancelled": "cancelled_at",
}
"""The time that each end sets."""
_TIMES: Final = ("in_progress_at", "finalizing_at", "cancelling_at", *ENDS.values())


def breaches(batch: Mapping[str, Any], window: int) -> list[str]:
    """What is wrong with a batch of the test upstream that has `window` seconds, each in a sentence."""
    status, counts = batch["status"], batch["request_counts"]
    return [
        *_times(batch, window),
        *_files_and_errors(batch),
        *([] if _counted(status, counts) else [f"{status} with the counts {counts}"]),
        *_usage(batch),
    ]


def _times(batch: Mapping[str, Any], window: int) -> Iterator[str]:
    status, created_at = batch["status"], batch["created_at"]
    if batch["expires_at"] != created_at + window:
        yield f"it expires {batch['expires_at'] - created_at} s after its creation, not {window} s"
    end = ENDS.get(status)
    ends = [name for name in ENDS.values() if batch[name] is not None]
    if ends != ([] if end is None else [end]):
        yield f"it is {status}, and {ends} are set"
    started = batch["in_progress_at"] is not None
    if started != (status not in ("validating", "failed")) and status not in ("cancelling", "cancelled"):
        yield f"it is {status}, and in_progress_at is {batch['in_progress_at']}"
    if (batch["cancelling_at"] is not None) != (status in ("cancelling", "cancelled")):
        yield f"it is {status}, and cancelling_at is {batch['cancelling_at']}"
    finalized = batch["finalizing_at"] is not None
    if finalized != (status in ("finalizing", "completed")) and status not in ("cancelling", "cancelled"):
        yield f"it is {status}, and finalizing_at is {batch['finalizing_at']}"
    order = [created_at, *(batch[name] for name in _TIMES if batch[name] is not None)]
    if order != sorted(order):
        yield f"its times are out of order: { ({name: batch[name] for name in _TIMES}) }"
    if status == "expired" and batch["expired_at"] < batch["expires_at"]:
        yield "it expired before its time"


def _files_and_errors(batch: Mapping[str, Any]) -> Iterator[str]:
    status, counts = batch["status"], batch["request_counts"]
    total, completed, failed = counts["total"], counts["completed"], counts["failed"]
    given = batch["output_file_id"] is not None, batch["error_file_id"] is not None
    ended = status in ("completed", "expired", "cancelled")
    due = (completed > 0, total > completed) if ended else (False, False)
    if given != due:
        yield f"it is {status} with {counts}, and has an output file and an error file: {given}"
    if (batch["errors"] is not None) != (status == "failed"):
        yield f"it is {status}, and its errors are {batch['errors']}"
    if status == "completed" and completed + failed != total:
        yield f"it completed with {counts}"


def _counted(status: str, counts: Mapping[str, int]) -> bool:
    if status in ("validating", "failed"):
        return set(counts.values()) == {0}
    return 0 <= counts["completed"] + counts["failed"] <= counts["total"]


def _usage(batch: Mapping[str, Any]) -> Iterator[str]:
    if (batch["usage"] is None) != (batch["in_progress_at"] is None):
        yield f"in_progress_at is {batch['in_progress_at']}, and its usage {batch['usage']}"
        return
    if batch["usage"] is None:
        return
    completed, usage = batch["request_counts"]["completed"], batch["usage"]
    used = usage["input_tokens"], usage["output_tokens"]
    if used != (completed * PROMPT_TOKENS, completed * COMPLETION_TOKENS):
        yield f"{completed} lines succeeded, and it used {used} tokens"
