"""Whether a row of the read models is what the stream of its events gives."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from events.audit.defect import Defect
from events.catalog import State, fold, kind_of
from events.errors import UnknownEvent
from events.event import RecordedEvent
from events.file import File
from events.model_row import derived
from events.read_models import KINDS
from events.shape import SHAPES, encode_state, shape_of
from events.upload import Upload

WAITED: Final = timedelta(minutes=10)
"""Longest time between a row and its first event, which the same append wrote: it waits for the log's lock
in between."""
_EXPIRES: Final = re.compile(r'[{,]"expires_at":(\d+)')


class StoredRow(msgspec.Struct, frozen=True):
    """A row of `read_models`."""

    id: str
    kind: str
    project_id: str
    label: str | None
    stored: str | None
    created_at: datetime
    hidden: bool
    version: int
    state: str | None
    parked: str | None
    expires_at: int | None
    bytes: int | None


class Gap(NamedTuple):
    """Versions of a stream that are missing: the first of them, between which positions it was."""

    version: int
    after: int
    before: int


class StreamCheck:
    """Folds one stream, beside its row."""

    def __init__(self, id: str, row: StoredRow | None) -> None:
        self.id = id
        self.row = row
        self.gaps: list[Gap] = []
        self.disorder: list[int] = []
        """Positions of events that stand before one of a lower version."""
        self.version = 0
        self.position = 0
        self.state: State | None = None
        """As far as this program can fold it."""
        self._first: RecordedEvent | None = None
        self._at_row: State | None = None
        self.parked = False
        self._kind = kind_of(id)

    def add(self, event: RecordedEvent) -> None:
        """The next event of the stream, by version."""
        self._first = self._first or event
        if event.version != self.version + 1:
            self.gaps.append(Gap(self.version + 1, self.position, event.position))
        if event.position < self.position:
            self.disorder.append(event.position)
        self.version, self.position = event.version, event.position
        if self.parked or self._kind is None:
            return
        try:
            self.state = fold(self.state, event)
        except UnknownEvent:
            self.parked = True
            return
        if self.row is not None and event.version == self.row.version:
            self._at_row = self.state

    @property
    def foreign(self) -> bool:
        """Whether the row has the shape of another program: where that parks it is no defect, and of its
        state only those fields can be compared that both know."""
        row, kind = self.row, self._kind
        if row is None or row.state is None or kind is None:
            return False
        return shape_of(row.state).number != SHAPES[kind].number

    @property
    def ahead(self) -> bool:
        """Whether the row has seen events that are not there."""
        row = self.row
        return row is not None and (row.version > self.version or row.hidden > derived(self.state)[2])

    def defect(self) -> Defect | None:
        """What is wrong with the row, if anything; for a stream that is whole."""
        for field, expected, found in self.differences():
            if self.row is None:
                return Defect(
                    "read_model_deleted",
                    f"the row of {self.id} in the read models was deleted; `batchmill rebuild` makes it "
                    "again",
                    stream=self.id,
                    key=self.id,
                )
            return Defect(
                "read_model_edited",
                f"the row of {self.id} in the read models was edited: its {field} is not what the events "
                "give; `batchmill rebuild` makes it again",
                stream=self.id,
                version=self.row.version,
                key=f"{self.id}.{field}",
                expected=str(expected),
                found=str(found),
            )
        return None

    def differences(self) -> Iterable[tuple[str, object, object]]:
        """Fields that are not what they must be: name, what the events give, what the row has."""
        row, first, kind = self.row, self._first, self._kind
        if kind is None or first is None:
            return
        if row is None:
            yield "row", "there", None
            return
        yield from _others("kind", KINDS[kind], row.kind)
        yield from _others("project_id", first.project_id, row.project_id)
        if not timedelta(0) <= first.recorded_at - row.created_at <= WAITED:
            yield "created_at", first.recorded_at, row.created_at
        if self.parked:  # what a newer program wrote is for that one to judge
            return
        if row.version > self.version:
            yield "version", self.version, row.version
        if (row.state is None) != (row.version == 0):
            yield "version", 0 if row.state is None else self.version, row.version
        label, stored, hidden = derived(self.state)
        yield from _others("label", label, row.label)
        yield from _others("stored", stored, row.stored)
        yield from _others("hidden", hidden, row.hidden)
        if row.parked is not None and not self.foreign:
            yield "parked", None, row.parked
        if row.state is None:
            yield from _others("expires_at", None, row.expires_at)
            yield from _others("bytes", None, row.bytes)
            return
        if self._at_row is None:
            yield "state", None, row.state
        elif self.foreign:
            yield from _others_of_both(encode_state(self._at_row), row.state)
            if shape_of(row.state).number < SHAPES[kind].number and not _readable(row.state, self._at_row):
                yield "state", encode_state(self._at_row), row.state
        elif not _same(row.state, self._at_row):
            yield "state", encode_state(self._at_row), row.state
        found, size = None, None
        if isinstance(self._at_row, File | Upload):
            found, size = _EXPIRES.search(row.state), self._at_row.created.size
        yield from _others("expires_at", None if found is None else int(found[1]), row.expires_at)
        if row.bytes is not None or not row.hidden:  # of what was gone before they were counted, none are
            yield from _others("bytes", size, row.bytes)


def _others(field: str, expected: object, found: object) -> Iterable[tuple[str, object, object]]:
    if expected != found:
        yield field, expected, found


def _others_of_both(expected: str, found: str) -> Iterable[tuple[str, object, object]]:
    """Fields of two states that both of them have, and that differ in what both of them have."""
    try:
        there, here = (msgspec.json.decode(text, type=dict[str, object]) for text in (expected, found))
    except msgspec.MsgspecError:
        yield "state", expected, found
        return
    for name in sorted((there.keys() & here.keys()) - {"shape"}):
        if not _agree(there[name], here[name]):
            yield f"state.{name}", _json(there[name]), _json(here[name])


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _agree(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_agree(one[name], other[name]) for name in one.keys() & other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_agree, one, other))
    return one == other


def _readable(text: str, state: State) -> bool:
    """Whether a row of an older shape has all that its program must have written."""
    try:
        msgspec.json.decode(text, type=type(state))
    except msgspec.MsgspecError:
        return False
    return True


def _same(text: str, state: State) -> bool:
    """By value: another build may have written the same state in another order."""
    try:
        return msgspec.json.decode(text, type=type(state)) == state
    except msgspec.MsgspecError:
        return False
