"""The objects of the API as they go over the wire, made from what the events say.

Every key is always there, null where nothing is set. Times are Unix seconds. `batchmill` in a batch is the
one thing that the official API does not have.
"""

from collections.abc import Sequence
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

from api.batches.waiting import VALIDATION, why_waiting
from events.batch import Batch, Status, Usage
from events.file import File
from events.inputs.dry_run import DryRun
from events.inputs.validator import LineError
from events.read_models import Seen
from events.work import OpenBatch

T = TypeVar("T", bound="Listed")


class Listed(Protocol):
    """What a list can hold."""

    @property
    def id(self) -> str: ...


class ErrorEntry(msgspec.Struct, frozen=True):
    """Why a batch failed, one line of its input."""

    code: str
    message: str
    param: str | None
    line: int | None


class ErrorList(msgspec.Struct, frozen=True):
    """The errors of a failed batch, in line order."""

    data: list[ErrorEntry]
    object: Literal["list"] = "list"


class RequestCounts(msgspec.Struct, frozen=True):
    """Lines by outcome; what an ended batch never ran counts only in `total`."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int


class OutputTokensDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int


class UsageObject(msgspec.Struct, frozen=True):
    """Tokens, summed over the lines that have an outcome."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Live(msgspec.Struct, frozen=True):
    """How a batch stands just now.

    `waiting_for` says why it does not move; `lines_left` counts lines without an outcome, null once it has
    ended; `parked` says why this program cannot follow its history further, if so. `retry_of` names the batch
    whose lines these are again.
    """

    waiting_for: str | None
    lines_left: int | None
    parked: str | None
    retry_of: str | None


class BatchObject(msgspec.Struct, frozen=True, kw_only=True):
    """`batch`"""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: ErrorList | None
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: UsageObject | None
    metadata: dict[str, str] | None
    batchmill: Live


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """`file`; `size` is in bytes."""

    id: str
    object: Literal["file"] = "file"
    size: int = msgspec.field(name="bytes")
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None


class ValidationObject(msgspec.Struct, frozen=True, kw_only=True):
    """`batchmill.validation`; `errors` as those of a failed batch. `lines` and `estimated_input_tokens` are
    null where the input is so wrong that it was not read to its end."""

    object: Literal["batchmill.validation"] = "batchmill.validation"
    valid: bool
    endpoint: str
    model: str | None
    lines: int | None
    estimated_input_tokens: int | None
    errors: ErrorList | None


class Deleted(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class ListObject(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list, in its order."""

    data: Sequence[T]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


def batch_object(seen: Seen[Batch], open_batch: OpenBatch | None) -> BatchObject:
    """A batch as its events made it, and as it stands on the work board (None: no more, or not looked at)."""
    batch = seen.state
    return BatchObject(
        id=seen.id,
        endpoint=batch.created.endpoint,
        model=batch.model,
        errors=error_list(batch.errors) if batch.status == "failed" else None,
        input_file_id=batch.created.input_file_id,
        completion_window=batch.created.completion_window,
        status=batch.status,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=batch.created_at,
        in_progress_at=batch.in_progress_at,
        expires_at=batch.expires_at,
        finalizing_at=batch.finalizing_at,
        completed_at=batch.completed_at,
        failed_at=batch.failed_at,
        expired_at=batch.expired_at,
        cancelling_at=batch.cancelling_at,
        cancelled_at=batch.cancelled_at,
        request_counts=RequestCounts(batch.total, batch.completed, batch.failed),
        usage=None if batch.in_progress_at is None else usage_object(batch.usage),
        metadata=batch.created.metadata,
        batchmill=_live(seen, open_batch),
    )


def file_object(seen: Seen[File]) -> FileObject:
    """A file as its events made it."""
    file = seen.state
    return FileObject(
        id=seen.id,
        size=file.created.size,
        created_at=file.created_at,
        expires_at=file.expires_at,
        filename=file.created.filename,
        purpose=file.created.purpose,
    )


def list_object(objects: Sequence[T], *, has_more: bool) -> ListObject[T]:
    """A page of a list."""
    first_id, last_id = (objects[0].id, objects[-1].id) if objects else (None, None)
    return ListObject(objects, first_id, last_id, has_more)


def validation_object(endpoint: str, run: DryRun) -> ValidationObject:
    """What a dry run found of an input for `endpoint`."""
    return ValidationObject(
        valid=not run.errors,
        endpoint=endpoint,
        model=run.model,
        lines=run.lines,
        estimated_input_tokens=run.tokens,
        errors=error_list(run.errors) if run.errors else None,
    )


def error_list(errors: Sequence[LineError]) -> ErrorList:
    """Why an input is refused."""
    return ErrorList([ErrorEntry(error.code, error.message, error.param, error.line) for error in errors])


def usage_object(usage: Usage) -> UsageObject:
    """Tokens of a batch or a line."""
    return UsageObject(
        input_tokens=usage.input_tokens,
        input_tokens_details=InputTokensDetails(usage.cached_tokens),
        output_tokens=usage.output_tokens,
        output_tokens_details=OutputTokensDetails(usage.reasoning_tokens),
        total_tokens=usage.total_tokens,
    )


def _live(seen: Seen[Batch], open_batch: OpenBatch | None) -> Live:
    batch = seen.state
    if batch.ended:
        return Live(None, None, seen.parked, batch.created.retry_of)
    started = batch.in_progress_at is not None
    new = VALIDATION if batch.status == "validating" else None
    on_board = new if open_batch is None else why_waiting(open_batch)
    return Live(
        waiting_for=seen.parked or on_board,
        lines_left=batch.total - batch.completed - batch.failed if started else None,
        parked=seen.parked,
        retry_of=batch.created.retry_of,
    )
