"""One batch as a stream of events: what may happen to it, decided and folded without I/O or clock.

    BatchCreated
         │
     validating ──LinesIndexed (of a large input, once it is known to be valid)──▶ validating
         │  ├─────BatchFailed────────────────────────────────▶ failed
         │  └─────BatchCancelRequested, BatchCancelled───────▶ cancelled
    BatchStarted
         │
    in_progress ──BatchCancelRequested──▶ cancelling ─┐
         │  └─────BatchExpiryReached (expiring)       │
         │                  │                         │
    BatchFinalizing{done}   {expired}                 {cancelled}
         │                  │                         │
     finalizing             │                         │
         │  └──BatchCancelRequested──▶ cancelling     │
    BatchCompleted     BatchExpired              BatchCancelled

`LinesCompleted` is a fact, not a decision: it is recorded while a claim holds, and no claim outlives
`BatchFinalizing`. On the way to expired the status stays `in_progress`, as on the wire; who cancels it there
has it end like any cancelled one, by another `BatchFinalizing{cancelled}`.
"""

from collections.abc import Callable
from typing import Literal, assert_never

import msgspec

from events.errors import CannotCancel
from events.inputs.validator import LineError

Status = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
Reason = Literal["done", "cancelled", "expired"]
BLOCKS_PER_GROUP = 32
"""Blocks of the line index in one event: 131,072 lines, about 1 MB."""
TERMINAL: frozenset[Status] = frozenset({"failed", "completed", "expired", "cancelled"})
LAST_EVENTS = frozenset({"BatchFailed", "BatchCompleted", "BatchExpired", "BatchCancelled"})
"""The types of events after which nothing happens to a batch any more."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens, summed over lines."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.total_tokens + other.total_tokens,
        )


class InputFile(msgspec.Struct, frozen=True):
    """Where a batch finds its input, also when the file has been deleted since."""

    storage_key: str
    size: int
    sha256: str


class BatchCreated(msgspec.Struct, frozen=True):
    """A client asked for a batch. `input` is None where no file of that id was visible to the project;
    `retry_of` names the batch whose lines these are again, those of the cause `retry_group` if it has one."""

    input_file_id: str
    endpoint: str
    completion_window: str
    window_seconds: int
    input: InputFile | None
    metadata: dict[str, str] | None = None
    output_expires_after: int | None = None
    retry_of: str | None = None
    retry_group: str | None = None


class LinesIndexed(msgspec.Struct, frozen=True):
    """A full group of blocks of the index of line offsets: `BLOCKS_PER_GROUP` attachments, one block each.

    A large input has several such groups, in order, so that no append grows with the file.
    """

    first_block: int


class BatchStarted(msgspec.Struct, frozen=True):
    """The input is valid. Its attachments are the blocks of the line index that no `LinesIndexed` holds.
    `estimated_tokens` are those of all prompts; 0 where nobody estimated them."""

    total: int
    model: str
    estimated_tokens: int = 0


class BatchFailed(msgspec.Struct, frozen=True):
    """The input is not valid; nothing was run."""

    errors: tuple[LineError, ...]


class LinesCompleted(msgspec.Struct, frozen=True):
    """Outcomes of one claim recorded together; which lines and how each went is in the event's `lines`.

    `began_ms` is the Unix time in milliseconds that the lines' start times count from; `root` is the
    SHA-256 over the salted digests of the result lines (hex), which lie with the attachment.
    """

    claim: str
    worker: str
    completed: int
    failed: int
    usage: Usage
    began_ms: int
    root: str


class BatchCancelRequested(msgspec.Struct, frozen=True):
    """A client asked to cancel: lines not started never start."""


class BatchExpiryReached(msgspec.Struct, frozen=True):
    """The completion window ended with lines still open."""


class BatchFinalizing(msgspec.Struct, frozen=True):
    """All claims are revoked: nothing can be recorded after this."""

    reason: Reason


class LastCheckpoint(msgspec.Struct, frozen=True):
    """What was signed of the log when a batch ended: its first `size` events have this `root` (hex)."""

    size: int
    root: str


class BatchCompleted(msgspec.Struct, frozen=True):
    """Every line has an outcome, and the files stand. `checkpoint` is None where the log is not sealed."""

    output_file_id: str | None
    error_file_id: str | None
    checkpoint: LastCheckpoint | None = None


class BatchCancelled(msgspec.Struct, frozen=True):
    """Cancelled; the files hold what was recorded and name what was not run."""

    output_file_id: str | None = None
    error_file_id: str | None = None
    checkpoint: LastCheckpoint | None = None


class BatchExpired(msgspec.Struct, frozen=True):
    """Expired; the files hold what was recorded and name what was not run."""

    output_file_id: str | None
    error_file_id: str | None
    checkpoint: LastCheckpoint | None = None


BatchEvent = (
    BatchCreated
    | LinesIndexed
    | BatchStarted
    | BatchFailed
    | LinesCompleted
    | BatchCancelRequested
    | BatchExpiryReached
    | BatchFinalizing
    | BatchCompleted
    | BatchCancelled
    | BatchExpired
)


class Batch(msgspec.Struct, frozen=True):
    """A batch as its events made it; times are Unix seconds by the database's clock. `indexed` counts the
    blocks of the line index that `LinesIndexed` events hold; `traceparent` is that of the request for it."""

    created: BatchCreated
    status: Status
    created_at: int
    expires_at: int
    indexed: int = 0
    total: int = 0
    completed: int = 0
    failed: int = 0
    usage: Usage = Usage()
    model: str | None = None
    estimated_tokens: int = 0
    errors: tuple[LineError, ...] = ()
    expiring: bool = False
    finalizing: Reason | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    traceparent: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.status in TERMINAL

    @property
    def stopping(self) -> bool:
        """Whether no further line may start."""
        return self.status == "cancelling" or self.expiring


class CreateBatch(msgspec.Struct, frozen=True):
    """Make the batch."""

    created: BatchCreated


class IndexLines(msgspec.Struct, frozen=True):
    """The planner has the next group of blocks of a valid input's line index."""

    first_block: int


class StartBatch(msgspec.Struct, frozen=True):
    """The planner found the input valid."""

    total: int
    model: str
    estimated_tokens: int = 0


class FailBatch(msgspec.Struct, frozen=True):
    """The planner found the input invalid."""

    errors: tuple[LineError, ...]


class CancelBatch(msgspec.Struct, frozen=True):
    """A client wants no further line to start."""


class ExpireBatch(msgspec.Struct, frozen=True):
    """The clock has passed the batch's `expires_at`."""


class FinalizeBatch(msgspec.Struct, frozen=True):
    """No line is open, or those open have had their time."""


class CloseBatch(msgspec.Struct, frozen=True):
    """The result files stand in storage."""

    output_file_id: str | None
    error_file_id: str | None
    checkpoint: LastCheckpoint | None = None


BatchCommand = (
    CreateBatch | IndexLines | StartBatch | FailBatch | CancelBatch | ExpireBatch | FinalizeBatch | CloseBatch
)


def decide(batch: Batch | None, command: BatchCommand) -> list[BatchEvent]:
    """The events that a command makes of a batch; none where it changes nothing.

    Repeating a command is harmless. Raises `CannotCancel` for a batch that has ended otherwise.
    """
    if isinstance(command, CreateBatch):
        return [command.created] if batch is None else []
    if batch is None:
        return []
    match command:
        case StartBatch(total=total, model=model, estimated_tokens=tokens):
            return [BatchStarted(total, model, tokens)] if batch.status == "validating" else []
        case IndexLines(first_block=first_block):
            next_group = batch.status == "validating" and batch.indexed == first_block
            return [LinesIndexed(first_block)] if next_group else []
        case FailBatch(errors=errors):
            return [BatchFailed(errors)] if batch.status == "validating" else []
        case CancelBatch():
            return _cancel(batch)
        case ExpireBatch():
            running = batch.status == "in_progress" and batch.finalizing is None and not batch.expiring
            return [BatchExpiryReached()] if running else []
        case FinalizeBatch():
            return _finalize(batch)
        case CloseBatch():
            return _close(batch, command)
        case _:
            assert_never(command)


def _cancel(batch: Batch) -> list[BatchEvent]:
    match batch.status:
        case "validating":
            return [BatchCancelRequested(), BatchCancelled()]
        case "in_progress" if batch.finalizing == "expired":
            return [BatchCancelRequested(), BatchFinalizing("cancelled")]
        case "in_progress" | "finalizing":
            return [BatchCancelRequested()]
        case "cancelling" | "cancelled":
            return []
        case _:
            raise CannotCancel(batch.status)


def _finalize(batch: Batch) -> list[BatchEvent]:
    if batch.finalizing is not None or batch.status not in ("in_progress", "cancelling"):
        return []
    if batch.status == "cancelling":
        return [BatchFinalizing("cancelled")]
    return [BatchFinalizing("expired" if batch.expiring else "done")]


def _close(batch: Batch, command: CloseBatch) -> list[BatchEvent]:
    if batch.finalizing is None or batch.ended:
        return []
    told = (command.output_file_id, command.error_file_id, command.checkpoint)
    if batch.status == "cancelling":
        return [BatchCancelled(*told)]
    return [BatchExpired(*told) if batch.finalizing == "expired" else BatchCompleted(*told)]


def evolve(batch: Batch | None, event: BatchEvent, second: int, traceparent: str | None = None) -> Batch:
    """The batch after an event that was recorded at `second` (Unix time), by a request with `traceparent`."""
    if isinstance(event, BatchCreated):
        return Batch(
            created=event,
            status="validating",
            created_at=second,
            expires_at=second + event.window_seconds,
            traceparent=traceparent,
        )
    if batch is None:
        raise ValueError(f"a batch begins with BatchCreated, not with {type(event).__name__}")
    change: Callable[..., Batch] = lambda **fields: msgspec.structs.replace(batch, **fields)  # noqa: E731
    match event:
        case LinesIndexed():
            return change(indexed=event.first_block + BLOCKS_PER_GROUP)
        case BatchStarted():
            return change(
                status="in_progress",
                total=event.total,
                model=event.model,
                estimated_tokens=event.estimated_tokens,
                in_progress_at=second,
            )
        case BatchFailed():
            return change(status="failed", errors=event.errors, failed_at=second)
        case LinesCompleted():
            return change(
                completed=batch.completed + event.completed,
                failed=batch.failed + event.failed,
                usage=batch.usage + event.usage,
            )
        case BatchCancelRequested():
            return change(status="cancelling", cancelling_at=second)
        case BatchExpiryReached():
            return change(expiring=True)
        case BatchFinalizing(reason="done"):
            return change(finalizing="done", status="finalizing", finalizing_at=second)
        case BatchFinalizing():
            return change(finalizing=event.reason)
        case BatchCompleted():
            return change(status="completed", completed_at=second, **_files(event))
        case BatchCancelled():
            return change(status="cancelled", cancelled_at=second, **_files(event))
        case BatchExpired():
            return change(status="expired", expired_at=second, **_files(event))
        case _:
            assert_never(event)


def _files(event: BatchCompleted | BatchCancelled | BatchExpired) -> dict[str, str | None]:
    return {"output_file_id": event.output_file_id, "error_file_id": event.error_file_id}
