"""A batch as its events: in order, many of one kind in a row told as one."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from cli.demo.time_line import Moment, time_line
from events.batch import BatchEvent, BatchFinalizing, BatchStarted, LinesCompleted, Usage
from events.catalog import encode
from events.event import RecordedEvent

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def recorded(second: int, event: BatchEvent) -> RecordedEvent:
    type_, data = encode(event)
    at = BEGAN + timedelta(seconds=second)
    return RecordedEvent(second + 1, uuid4(), "batch_1", second + 1, type_, "default", data, "{}", at)


def flushed(completed: int, failed: int) -> LinesCompleted:
    return LinesCompleted("claim", "worker", completed, failed, Usage(), 0, "00" * 32)


def test_flushes_in_a_row_are_one_moment_with_what_they_recorded() -> None:
    started, done = BatchStarted(1_500, "m"), BatchFinalizing("done")
    events: list[BatchEvent] = [started, flushed(1_000, 0), flushed(490, 10), done]
    moments = list(time_line([recorded(second, event) for second, event in enumerate(events)]))
    assert [moment.title for moment in moments] == ["BatchStarted", "LinesCompleted × 2", "BatchFinalizing"]
    second = timedelta(seconds=1)
    assert moments[1] == Moment(
        BEGAN + second, BEGAN + 2 * second, "LinesCompleted", 2, "1,490 lines succeeded, 10 failed"
    )
