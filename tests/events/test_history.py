"""A batch as people are told it: moments with who and why, stretches with how long, what it waited for."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from events.batch import (
    BatchCancelled,
    BatchCancelRequested,
    BatchCompleted,
    BatchCreated,
    BatchEvent,
    BatchExpired,
    BatchExpiryReached,
    BatchFailed,
    BatchFinalizing,
    BatchStarted,
    LinesCompleted,
    LinesIndexed,
    Usage,
)
from events.catalog import encode
from events.event import RecordedEvent
from events.history import Entry, History
from events.inputs.validator import LineError
from events.work import Wait

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CREATED = BatchCreated("file-1", "/v1/embeddings", "24h", 86_400, None)


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def flushed(completed: int, failed: int, began: float = 0.0, worker: str = "w-1") -> LinesCompleted:
    began_ms = int(after(began).timestamp() * 1000)
    return LinesCompleted("claim", worker, completed, failed, Usage(), began_ms, "00" * 32)


def history(*events: tuple[float, BatchEvent] | tuple[float, BatchEvent, str]) -> History:
    """Of events, each with its second and maybe its actor."""
    told = History()
    for version, (second, event, *actor) in enumerate(events, 1):
        type_, data = encode(event)
        metadata = json.dumps({"actor": actor[0]} if actor else {})
        told.add(
            RecordedEvent(version, uuid4(), "batch_1", version, type_, "p", data, metadata, after(second))
        )
    return told


def times(entries: list[Entry]) -> list[tuple[str, float, float | None]]:
    return [
        (
            entry.name,
            (entry.began - BEGAN).total_seconds(),
            None if entry.ended is None else (entry.ended - BEGAN).total_seconds(),
        )
        for entry in entries
    ]


def test_a_batch_that_completes_is_told_from_its_creation_to_its_files() -> None:
    entries = history(
        (0, CREATED, "key_1"),
        (2, BatchStarted(1_500, "m"), "planner"),
        (9, flushed(1_000, 0, began=5, worker="w-1")),
        (12, flushed(490, 10, began=6, worker="w-2")),
        (13, BatchFinalizing("done"), "finalizer"),
        (14, BatchCompleted("file-o", None), "finalizer"),
    ).entries()
    assert times(entries) == [
        ("created", 0, 0),
        ("planning", 0, 2),
        ("validated", 2, 2),
        ("queued", 2, 5),
        ("running", 5, 12),
        ("finalizing", 13, 13),
        ("writing_files", 13, 14),
        ("completed", 14, 14),
    ]
    assert [entry.actors for entry in entries if entry.actors] == [
        ("key_1",),
        ("planner",),
        ("w-1", "w-2"),
        ("finalizer",),
        ("finalizer",),
    ]
    assert (entries[0].text, entries[2].text) == (
        "/v1/embeddings of file-1 within 24h",
        "1,500 lines for model m",
    )
    assert entries[4].text == "1,490 lines succeeded, 10 failed, in 2 flushes"
    assert (entries[4].events, entries[3].events) == ((3, 4), None)
    assert (entries[5].why, entries[7].text) == ("every line has an outcome", "output file-o")


def test_what_still_lasts_has_no_end() -> None:
    told = history((0, CREATED))
    assert times(told.entries()) == [("created", 0, 0), ("planning", 0, None)]
    assert told.entries()[1].seconds(after(3)) == 3
    running = history((0, CREATED), (1, BatchStarted(9, "m")), (5, flushed(1, 0, began=2)))
    assert times(running.entries())[-2:] == [("queued", 1, 2), ("running", 2, None)]


def test_what_it_waited_for_stands_where_it_began() -> None:
    waits = [Wait("waiting for room: …", after(1.5), after(4)), Wait("route paused: …", after(7), None)]
    told = history((0, CREATED), (1, BatchStarted(9, "m")), (6, flushed(1, 0, began=5)))
    assert times(told.entries(waits))[2:] == [
        ("validated", 1, 1),
        ("queued", 1, 5),
        ("waiting", 1.5, 4),
        ("running", 5, None),
        ("waiting", 7, None),
    ]
    assert told.entries(waits)[-1].why == "route paused: …"


def test_a_cancelled_batch_says_who_wanted_it_and_how_long_lines_in_flight_took() -> None:
    entries = history(
        (0, CREATED),
        (1, BatchStarted(9, "m")),
        (3, flushed(1, 0, began=2)),
        (4, BatchCancelRequested(), "key_2"),
        (5, flushed(1, 0, began=2)),
        (6, BatchFinalizing("cancelled")),
        (7, BatchCancelled("file-o", "file-e")),
    ).entries()
    assert times(entries)[4:] == [
        ("running", 2, 3),
        ("cancel_requested", 4, 4),
        ("stopping", 4, 6),
        ("running", 4, 5),
        ("finalizing", 6, 6),
        ("writing_files", 6, 7),
        ("cancelled", 7, 7),
    ]
    assert next(entry.actors for entry in entries if entry.name == "cancel_requested") == ("key_2",)


def test_each_way_to_end_is_told() -> None:
    failed = history((0, CREATED), (1, BatchFailed((LineError("code", "bad line", None, 1),)))).entries()
    assert times(failed)[1:] == [("planning", 0, 1), ("failed", 1, 1)]
    assert failed[-1].why == "bad line"
    early = history((0, CREATED), (1, BatchCancelRequested()), (1, BatchCancelled())).entries()
    assert times(early)[1:] == [("planning", 0, 1), ("cancel_requested", 1, 1), ("cancelled", 1, 1)]
    late = history(
        (0, CREATED),
        (1, BatchStarted(9, "m")),
        (2, BatchFinalizing("done")),
        (3, BatchCancelRequested()),
        (4, BatchCancelled()),
    ).entries()
    assert times(late)[-3:] == [("cancel_requested", 3, 3), ("writing_files", 3, 4), ("cancelled", 4, 4)]
    expired = history(
        (0, CREATED),
        (1, LinesIndexed(0)),
        (1, BatchStarted(9, "m")),
        (2, BatchExpiryReached()),
        (3, BatchFinalizing("expired")),
        (4, BatchExpired(None, None)),
    ).entries()
    assert [entry.name for entry in expired if entry.name != "planning"] == [
        *("created", "validated", "queued", "window_ended", "stopping", "finalizing", "writing_files"),
        "expired",
    ]
    assert expired[-1].text == "no result files"


def test_a_workers_clock_that_is_wrong_bends_no_stretch() -> None:
    for began in (-3_600, 3_600):
        told = history((0, CREATED), (1, BatchStarted(9, "m")), (5, flushed(1, 0, began=began)))
        moments = times(told.entries())
        assert all(ended is None or began <= ended for _, began, ended in moments)
        assert moments[-1][0] == "running"
        assert 1 <= moments[-1][1] <= 5


def test_what_only_a_newer_program_can_read_is_told_as_that() -> None:
    told = history((0, CREATED))
    told.add(RecordedEvent(2, uuid4(), "batch_1", 2, "BatchTeleported", "p", "{}", "{}", after(1)))
    assert times(told.entries())[-2:] == [("planning", 0, None), ("unknown", 1, 1)]
