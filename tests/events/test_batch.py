"""What may happen to a batch, over every order in which commands can come."""

from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.batch import (
    TERMINAL,
    Batch,
    BatchCancelled,
    BatchCancelRequested,
    BatchCommand,
    BatchCompleted,
    BatchCreated,
    BatchEvent,
    BatchExpired,
    BatchExpiryReached,
    BatchFailed,
    BatchFinalizing,
    BatchStarted,
    CancelBatch,
    CloseBatch,
    CreateBatch,
    ExpireBatch,
    FailBatch,
    FinalizeBatch,
    InputFile,
    LinesCompleted,
    StartBatch,
    Status,
    Usage,
    decide,
    evolve,
)
from events.errors import CannotCancel
from events.inputs.validator import LineError

CREATED: Final = BatchCreated(
    "file-1", "/v1/chat/completions", "24h", 86_400, InputFile("objects/1", 10, "00" * 32), {"name": "x"}
)
ERRORS: Final = (LineError("invalid_json_line", "This line is not parseable as valid JSON.", None, 1),)
FACT: Final = LinesCompleted("c", "w", 2, 1, Usage(1, 2, 3, 4, 5), 0, "00" * 32)

DIAGRAM: Final[dict[Status, set[Status]]] = {
    "validating": {"in_progress", "failed", "cancelling"},
    "in_progress": {"finalizing", "cancelling", "expired"},
    "finalizing": {"completed", "cancelling"},
    "cancelling": {"cancelled"},
    "failed": set(),
    "completed": set(),
    "expired": set(),
    "cancelled": set(),
}
TIMES: Final = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)

commands: st.SearchStrategy[BatchCommand] = st.sampled_from(
    [
        CreateBatch(CREATED),
        StartBatch(10, "m"),
        FailBatch(ERRORS),
        CancelBatch(),
        ExpireBatch(),
        FinalizeBatch(),
        CloseBatch("file-out", None),
        CloseBatch(None, "file-err"),
        CloseBatch("file-out", "file-err"),
    ]
)
steps = st.lists(commands | st.just(FACT), max_size=14)


def events_of(batch: Batch | None, step: BatchCommand | LinesCompleted) -> list[BatchEvent]:
    """What a step makes of a batch: a fact is recorded only while a claim can hold."""
    if isinstance(step, LinesCompleted):
        open_ = batch is not None and batch.status in ("in_progress", "cancelling") and not batch.finalizing
        return [step] if open_ else []
    try:
        return decide(batch, step)
    except CannotCancel:
        return []


def history(taken: list[BatchCommand | LinesCompleted]) -> list[BatchEvent]:
    """The events of a batch that was made and then took these steps."""
    batch: Batch | None = None
    made: list[BatchEvent] = []
    for second, step in enumerate([CreateBatch(CREATED), *taken]):
        for event in events_of(batch, step):
            batch = evolve(batch, event, second)
            made.append(event)
    return made


def fold(events: list[BatchEvent], batch: Batch | None = None, second: int = 0) -> Batch | None:
    for event in events:
        batch = evolve(batch, event, second)
    return batch


def at(*taken: BatchCommand) -> Batch:
    """The batch after these commands."""
    batch = fold(history(list(taken)))
    assert batch is not None
    return batch


STARTED = StartBatch(10, "m")
CANCEL, EXPIRE, FINALIZE, CLOSE = CancelBatch(), ExpireBatch(), FinalizeBatch(), CloseBatch("o", "e")


@given(st.lists(commands, max_size=14))
def test_a_command_raises_nothing_but_that_it_came_too_late_to_cancel(taken: list[BatchCommand]) -> None:
    batch: Batch | None = None
    for second, command in enumerate(taken):
        if batch and isinstance(command, CancelBatch) and batch.status in TERMINAL - {"cancelled"}:
            with pytest.raises(CannotCancel):
                decide(batch, command)
            continue
        for event in decide(batch, command):
            batch = evolve(batch, event, second)


@given(steps)
def test_a_status_changes_only_along_the_diagram(taken: list[BatchCommand | LinesCompleted]) -> None:
    batch = evolve(None, CREATED, 0)
    for event in history(taken)[1:]:
        after = evolve(batch, event, 1)
        assert after.status == batch.status or after.status in DIAGRAM[batch.status]
        batch = after


@given(steps, commands)
def test_nothing_happens_to_a_batch_that_has_ended(
    taken: list[BatchCommand | LinesCompleted], command: BatchCommand
) -> None:
    batch = fold(history(taken))
    assert batch is not None
    if batch.ended:
        assert events_of(batch, command) == []


@given(steps, commands)
def test_a_repeated_command_makes_no_events(
    taken: list[BatchCommand | LinesCompleted], command: BatchCommand
) -> None:
    batch = fold(history(taken))
    once = fold(events_of(batch, command), batch)
    assert events_of(once, command) == []


@given(steps)
def test_counts_only_grow_and_nothing_is_recorded_before_it_started(
    taken: list[BatchCommand | LinesCompleted],
) -> None:
    batch = evolve(None, CREATED, 0)
    for event in history(taken)[1:]:
        after = evolve(batch, event, 1)
        assert after.completed >= batch.completed
        assert after.failed >= batch.failed
        for field in Usage.__struct_fields__:
            assert getattr(after.usage, field) >= getattr(batch.usage, field)
        assert after.total in (batch.total, 10)
        batch = after


@given(steps)
def test_each_time_is_set_once_and_with_its_status(taken: list[BatchCommand | LinesCompleted]) -> None:
    batch = evolve(None, CREATED, 5)
    for second, event in enumerate(history(taken)[1:], start=6):
        after = evolve(batch, event, second)
        for name in TIMES:
            was, now = getattr(batch, name), getattr(after, name)
            assert now in (was, second)
            if was is not None:
                assert now == was
            if now != was:
                assert name == f"{after.status}_at"
        batch = after
    assert batch.created_at == 5
    assert batch.expires_at == 5 + CREATED.window_seconds
    ends = [
        name for name in ("completed_at", "failed_at", "expired_at", "cancelled_at") if getattr(batch, name)
    ]
    assert ends == ([f"{batch.status}_at"] if batch.ended else [])


@given(steps, st.integers(0, 20))
def test_a_fold_can_be_cut_anywhere(taken: list[BatchCommand | LinesCompleted], cut: int) -> None:
    events = history(taken)
    head = fold(events[:cut])
    stored = None if head is None else msgspec.json.decode(msgspec.json.encode(head), type=Batch)
    assert fold(events[cut:], stored) == fold(events)


@given(steps)
def test_result_files_are_named_only_by_a_batch_that_has_ended(
    taken: list[BatchCommand | LinesCompleted],
) -> None:
    batch = fold(history(taken))
    assert batch is not None
    if not batch.ended or batch.status == "failed":
        assert (batch.output_file_id, batch.error_file_id) == (None, None)


def test_an_event_cannot_come_before_the_creation() -> None:
    with pytest.raises(ValueError, match="begins with BatchCreated"):
        evolve(None, BatchStarted(1, "m"), 0)


def test_cancelling_while_validating_ends_at_once_with_nothing_counted() -> None:
    batch = at()
    assert decide(batch, CANCEL) == [BatchCancelRequested(), BatchCancelled()]
    ended = at(CANCEL)
    assert (ended.status, ended.total, ended.completed, ended.failed) == ("cancelled", 0, 0, 0)
    assert (ended.output_file_id, ended.error_file_id, ended.in_progress_at) == (None, None, None)
    assert ended.cancelling_at is not None


def test_cancelling_stops_the_batch_and_keeps_what_was_recorded() -> None:
    stopping = at(STARTED, CANCEL)
    assert stopping.status == "cancelling"
    assert stopping.stopping
    assert decide(stopping, FINALIZE) == [BatchFinalizing("cancelled")]
    ended = at(STARTED, CANCEL, FINALIZE, CLOSE)
    assert (ended.status, ended.output_file_id, ended.error_file_id) == ("cancelled", "o", "e")
    assert ended.finalizing_at is None


def test_cancelling_while_finalizing_ends_cancelled_with_the_same_files() -> None:
    assert at(STARTED, FINALIZE, CANCEL).status == "cancelling"
    ended = at(STARTED, FINALIZE, CANCEL, CLOSE)
    assert (ended.status, ended.output_file_id, ended.error_file_id) == ("cancelled", "o", "e")
    assert ended.finalizing == "done"


def test_a_deadline_while_validating_waits_for_the_end_of_validation() -> None:
    assert decide(at(), EXPIRE) == []
    assert decide(at(STARTED), EXPIRE) == [BatchExpiryReached()]


def test_a_deadline_while_cancelling_or_finalizing_changes_nothing() -> None:
    assert decide(at(STARTED, CANCEL), EXPIRE) == []
    assert decide(at(STARTED, FINALIZE), EXPIRE) == []


def test_on_the_way_to_expired_the_status_stays_in_progress() -> None:
    for taken in ([EXPIRE], [EXPIRE, FINALIZE]):
        batch = at(STARTED, *taken)
        assert batch.status == "in_progress"
        assert batch.stopping
        assert batch.finalizing_at is None
    ended = at(STARTED, EXPIRE, FINALIZE, CLOSE)
    assert (ended.status, ended.finalizing_at) == ("expired", None)
    assert decide(at(STARTED, EXPIRE, FINALIZE), CLOSE) == [BatchExpired("o", "e")]


def test_a_batch_on_the_way_to_expired_can_still_be_cancelled() -> None:
    assert at(STARTED, EXPIRE, CANCEL).status == "cancelling"
    assert at(STARTED, EXPIRE, CANCEL, FINALIZE, CLOSE).status == "cancelled"


def test_one_that_is_cancelled_while_it_finalizes_as_expired_ends_as_any_cancelled_one() -> None:
    cancelled = at(STARTED, EXPIRE, FINALIZE, CANCEL)
    assert (cancelled.status, cancelled.finalizing) == ("cancelling", "cancelled")
    assert decide(cancelled, CANCEL) == decide(cancelled, FINALIZE) == []
    assert decide(cancelled, CLOSE) == [BatchCancelled("o", "e")]


@pytest.mark.parametrize(
    ("taken", "status"),
    [
        ((FailBatch(ERRORS),), "failed"),
        ((STARTED, FINALIZE, CLOSE), "completed"),
        ((STARTED, EXPIRE, FINALIZE, CLOSE), "expired"),
    ],
)
def test_a_batch_that_has_ended_otherwise_cannot_be_cancelled(
    taken: tuple[BatchCommand, ...], status: str
) -> None:
    with pytest.raises(CannotCancel, match=f"^Cannot cancel a batch with status '{status}'.$"):
        decide(at(*taken), CANCEL)


def test_a_failed_batch_says_why_and_counts_nothing() -> None:
    batch = at(FailBatch(ERRORS))
    assert (batch.status, batch.errors, batch.total, batch.model) == ("failed", ERRORS, 0, None)
    assert decide(at(), FailBatch(ERRORS)) == [BatchFailed(ERRORS)]


def test_a_batch_in_which_every_line_failed_is_completed() -> None:
    assert decide(at(STARTED, FINALIZE), CloseBatch(None, "e")) == [BatchCompleted(None, "e")]
