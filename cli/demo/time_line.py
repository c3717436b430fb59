"""The story of a stream for people: its events in order, with many of one kind in a row told as one. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby

import msgspec

from events.batch import LinesCompleted
from events.catalog import decode
from events.event import RecordedEvent


class Moment(msgspec.Struct, frozen=True):
    """`count` events of one type in a row, from `began` to `ended`; `note` says what is in them."""

    began: datetime
    ended: datetime
    type: str
    count: int
    note: str

    @property
    def title(self) -> str:
        """Such as `LinesCompleted × 21`."""
        return self.type if self.count == 1 else f"{self.type} × {self.count}"


def time_line(events: Sequence[RecordedEvent]) -> Iterator[Moment]:
    """The moments of a stream, in order."""
    for type_, group in groupby(events, key=lambda event: event.type):
        row = list(group)
        yield Moment(row[0].recorded_at, row[-1].recorded_at, type_, len(row), _note(row))


def _note(row: Sequence[RecordedEvent]) -> str:
    flushes = [
        event for recorded in row if isinstance(event := decode(recorded.type, recorded.data), LinesCompleted)
    ]
    if not flushes:
        return ""
    completed, failed = sum(f.completed for f in flushes), sum(f.failed for f in flushes)
    return f"{completed:,} lines succeeded" + (f", {failed:,} failed" if failed else "")
