"""The story of a batch for people: what happened, who caused it and why, how long it waited for what. Pure.

    created ──planning──▶ validated ──queued──running──▶ finalizing ──writing files──▶ ended
                                        waiting    └──▶ cancel requested ──stopping──┘

Events take no time; the stretches between them do. What a batch waited for is no event: the work board knows.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

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
    Reason,
)
from events.catalog import decode
from events.errors import UnknownEvent
from events.event import RecordedEvent
from events.origin import Origin
from events.work import Wait

Name = Literal[
    "created",
    "planning",
    "validated",
    "failed",
    "queued",
    "waiting",
    "running",
    "cancel_requested",
    "window_ended",
    "stopping",
    "finalizing",
    "writing_files",
    "completed",
    "cancelled",
    "expired",
    "unknown",
]
STRETCHES: Final[frozenset[Name]] = frozenset(
    {"planning", "queued", "waiting", "running", "stopping", "writing_files"}
)
"""What takes time; all else is a moment."""
MOST_ACTORS: Final = 100
"""Workers that are named of one stretch."""
_WHY: Final[dict[Reason, str]] = {
    "done": "every line has an outcome",
    "cancelled": "it was cancelled",
    "expired": "its window ended",
}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A moment, or a stretch that ended at `ended` (None: it lasts). `text` is a sentence of it, `why` its
    reason where there is one. `actors` are keys, roles or workers. `events` are the versions of the first
    and last event that it is made of; None for a stretch between two events."""

    name: Name
    began: datetime
    ended: datetime | None
    text: str
    why: str | None = None
    actors: tuple[str, ...] = ()
    events: tuple[int, int] | None = None

    def seconds(self, now: datetime) -> float:
        """How long it took, or takes so far."""
        return max(0.0, ((self.ended or now) - self.began).total_seconds())


class History:
    """Takes the events of one batch in order, and tells `entries`. Its memory does not grow with them."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._since: tuple[Name, datetime, str] | None = None
        self._running: _Running | None = None

    def add(self, recorded: RecordedEvent) -> None:
        """The next event."""
        try:
            event = decode(recorded.type, recorded.data)
        except UnknownEvent:
            self._moment(recorded, "unknown", f"{recorded.type}, which only a newer program can read")
            return
        if isinstance(event, BatchEvent):
            self._add(recorded, event)

    def entries(self, waits: Sequence[Wait] = ()) -> list[Entry]:
        """All of it so far, in order of beginning, with what the batch waited for."""
        entries = [*self._entries]
        if self._running is not None:
            entries.append(self._running.entry(None))
        if self._since is not None:
            name, began, text = self._since
            entries.append(Entry(name=name, began=began, ended=None, text=text))
        entries += [
            Entry(name="waiting", began=w.began, ended=w.ended, text=w.reason, why=w.reason) for w in waits
        ]
        return sorted(entries, key=lambda entry: (entry.began, entry.name in STRETCHES))

    def _add(self, recorded: RecordedEvent, event: BatchEvent) -> None:
        at = recorded.recorded_at
        match event:
            case LinesCompleted():
                self._lines(recorded, event)
            case LinesIndexed():
                pass
            case BatchCreated():
                self._moment(recorded, "created", _creation(event))
                self._since = ("planning", at, "its input is validated")
            case BatchStarted():
                self._moment(recorded, "validated", f"{event.total:,} lines for model {event.model}")
                self._since = ("queued", at, "until the first line is sent")
            case BatchFailed():
                why = event.errors[0].message if event.errors else None
                self._moment(recorded, "failed", f"{len(event.errors):,} errors in its input", why)
            case BatchCancelRequested():
                self._stop(recorded, "cancel_requested", "no further line starts")
            case BatchExpiryReached():
                self._stop(recorded, "window_ended", "no further line starts")
            case BatchFinalizing():
                self._moment(recorded, "finalizing", "nothing more is recorded", _WHY[event.reason])
                self._since = ("writing_files", at, "its result files are written")
            case BatchCompleted():
                self._moment(recorded, "completed", _files(event))
            case BatchCancelled():
                self._moment(recorded, "cancelled", _files(event))
            case BatchExpired():
                self._moment(recorded, "expired", _files(event))

    def _moment(self, recorded: RecordedEvent, name: Name, text: str, why: str | None = None) -> None:
        """A moment ends the stretch before it."""
        if name != "unknown":
            self._end(recorded.recorded_at)
        actor = Origin.of(recorded.metadata).actor
        self._entries.append(
            Entry(
                name=name,
                began=recorded.recorded_at,
                ended=recorded.recorded_at,
                text=text,
                why=why,
                actors=() if actor is None else (actor,),
                events=(recorded.version, recorded.version),
            )
        )

    def _stop(self, recorded: RecordedEvent, name: Name, text: str) -> None:
        finalizing = self._since is not None and self._since[0] == "writing_files"
        planning = self._since is not None and self._since[0] == "planning"
        since = self._since
        self._moment(recorded, name, text)
        if finalizing and since is not None:
            self._since = ("writing_files", recorded.recorded_at, since[2])
        elif not planning:
            self._since = ("stopping", recorded.recorded_at, "lines in flight have their time to end")

    def _lines(self, recorded: RecordedEvent, event: LinesCompleted) -> None:
        if self._running is None:
            began = datetime.fromtimestamp(event.began_ms / 1000, UTC)
            if self._since is not None:
                began = max(began, self._since[1])
                if self._since[0] == "queued":
                    self._end(min(began, recorded.recorded_at))
            self._running = _Running(recorded, min(began, recorded.recorded_at))
        self._running.add(recorded, event)

    def _end(self, at: datetime) -> None:
        """What lasted until now is over; lines run until the last was recorded."""
        if self._since is not None:
            name, began, text = self._since
            self._entries.append(Entry(name=name, began=began, ended=at, text=text))
            self._since = None
        if self._running is not None:
            self._entries.append(self._running.entry(self._running.last))
            self._running = None


class _Running:
    """Flushes with no other event between them."""

    def __init__(self, first: RecordedEvent, began: datetime) -> None:
        self._first = first.version
        self._began = began
        self._flushes = self._completed = self._failed = 0
        self._workers: dict[str, None] = {}

    def add(self, recorded: RecordedEvent, event: LinesCompleted) -> None:
        self.last = recorded.recorded_at
        self._version = recorded.version
        self._flushes += 1
        self._completed += event.completed
        self._failed += event.failed
        if len(self._workers) < MOST_ACTORS:
            self._workers[event.worker] = None

    def entry(self, ended: datetime | None) -> Entry:
        failed = f", {self._failed:,} failed" if self._failed else ""
        flushes = "flush" if self._flushes == 1 else "flushes"
        return Entry(
            name="running",
            began=self._began,
            ended=ended,
            text=f"{self._completed:,} lines succeeded{failed}, in {self._flushes:,} {flushes}",
            actors=tuple(self._workers),
            events=(self._first, self._version),
        )


def _creation(event: BatchCreated) -> str:
    again = f", the lines of {event.retry_of} again" if event.retry_of else ""
    return f"{event.endpoint} of {event.input_file_id} within {event.completion_window}{again}"


def _files(event: BatchCompleted | BatchCancelled | BatchExpired) -> str:
    files = [f"output {event.output_file_id}"] if event.output_file_id else []
    files += [f"errors {event.error_file_id}"] if event.error_file_id else []
    return ", ".join(files) or "no result files"
