"""Folds the whole log from its beginning, and compares: rows of the read models, contents of files.

The log is read stream by stream, so that memory is that of a page, of one stream and of what is found.
What is written meanwhile is no difference: each one found is looked at again, together with its events in one
snapshot. Nothing is written and nothing is locked.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Final

import msgspec

from events.audit.evidence import Evidence
from events.audit.model_check import StoredRow, StreamCheck
from events.batch import Batch
from events.database import Database
from events.file import File, FileCreated
from events.read_models import KINDS
from events.reads import is_of_reads
from events.segments.segments import Segments
from events.statements import load_statements
from storage.store import ObjectMissing, Store

PAGE: Final = 2000
"""Events read at once."""
STRAYS: Final = 1000
"""Rows looked at together for whether any event tells of them."""
MOST: Final = 10_000
"""Most differences that are told one by one."""
AT_ONCE: Final = 4
"""Files looked at side by side."""
_SQL: Final = load_statements("events", "sql/replay.sql")


class Difference(msgspec.Struct, frozen=True):
    """A field of an object that is not what the log makes of it; None on the side where there is none."""

    object: str
    field: str
    replayed: str | None
    live: str | None


class Replayed(msgspec.Struct):
    """What came of it. `objects` are counted by kind, `batches` by status, as they were after the last event
    replayed. `changed_since` objects have later events: they are not compared. `parked` streams have an event
    that this program cannot fold, `unknown` ones belong to objects that it does not know; the rows of
    `foreign` ones have another program's shape, and are compared as far as both know them. Of `differences`
    the first `MOST` are told."""

    until: int | None = None
    events: int = 0
    objects: dict[str, int] = {}
    batches: dict[str, int] = {}
    files_compared: int = 0
    bytes_compared: int = 0
    changed_since: int = 0
    parked: int = 0
    unknown: int = 0
    foreign: int = 0
    different: int = 0
    differences: list[Difference] = []


Tell = Callable[[Replayed], None]


class Replay:
    """Over a database, and the storage of its files (None: they are not looked at)."""

    def __init__(
        self, database: Database, store: Store | None, *, hashed: bool = False, page: int = PAGE
    ) -> None:
        """`hashed`: contents are read whole and their SHA-256 compared, not only their size."""
        self._database = database
        self._evidence = Evidence(database, store)
        self._segments = Segments(database, store)
        self._store = store
        self._hashed = hashed
        self._page = page

    async def run(self, *, until: int | None = None, tell: Tell = lambda _: None) -> Replayed:
        """Replays events up to the position `until`, or all there are, and compares. Raises
        `DatabaseUnavailable`, and as storage does."""
        found = Replayed(until=until)
        check, moved = None, False
        async for page in self._segments.streams(self._page):
            rows = await self._rows({event.stream_id for event in page})
            ended: list[tuple[StreamCheck, bool]] = []
            for id, stream in groupby(page, key=lambda event: event.stream_id):
                if check is None or check.id != id:
                    ended += [(check, moved)] if check is not None else []
                    check, moved = StreamCheck(id, rows.get(id)), False
                for event in stream:
                    if until is not None and event.position > until:
                        moved = True
                    else:
                        check.add(event)
                        found.events += 1
            await self._compare(ended, found)
            tell(found)
        await self._compare([] if check is None else [(check, moved)], found)
        await self._compare_strays(found)
        return found

    async def _compare(self, streams: Sequence[tuple[StreamCheck, bool]], found: Replayed) -> None:
        files: list[tuple[str, File]] = []
        for check, moved in streams:
            if not check.version:
                continue
            _count(check, found)
            if moved:
                found.changed_since += 1
                continue
            if any(check.differences()):
                await self._look_again(check.id, found)
            if isinstance(check.state, File) and not check.state.gone:
                files.append((check.id, check.state))
        if self._store is not None:
            for start in range(0, len(files), AT_ONCE):
                await asyncio.gather(
                    *(
                        self._compare_contents(self._store, *file, found)
                        for file in files[start : start + AT_ONCE]
                    )
                )

    async def _look_again(self, id: str, found: Replayed) -> None:
        async for check in self._evidence.streams([id]):
            for field, replayed, live in check.differences():
                for difference in _by_field(id, field, replayed, live):
                    _note(difference, found)

    async def _compare_contents(self, store: Store, id: str, file: File, found: Replayed) -> None:
        created = file.created
        try:
            difference = (
                await _hash_differs(store, id, created)
                if self._hashed
                else await _size_differs(store, id, created)
            )
        except ObjectMissing:
            difference = Difference(id, "contents", f"{created.size:,} bytes", None)
        found.files_compared += 1
        found.bytes_compared += created.size if self._hashed else 0
        if difference is None:
            return
        async for again in self._evidence.streams([id]):
            if isinstance(again.state, File) and not again.state.gone:
                _note(difference, found)

    async def _compare_strays(self, found: Replayed) -> None:
        after = ""
        while strays := await self._evidence.stray_models(after, STRAYS):
            for stray in strays:
                if not stray.known:
                    _note(Difference(stray.key, "row", None, "there"), found)
            after = strays[-1].key

    async def _rows(self, ids: set[str]) -> Mapping[str, StoredRow]:
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["rows"], list(ids))
        return {row["id"]: StoredRow(*row) for row in rows}


def _count(check: StreamCheck, found: Replayed) -> None:
    state = check.state
    if state is None:
        found.unknown += not (check.parked or is_of_reads(check.id))
    else:
        kind = KINDS[type(state)]
        found.objects[kind] = found.objects.get(kind, 0) + 1
    found.parked += check.parked
    found.foreign += check.foreign
    if isinstance(state, Batch):
        found.batches[state.status] = found.batches.get(state.status, 0) + 1


def _note(difference: Difference, found: Replayed) -> None:
    found.different += 1
    if len(found.differences) < MOST:
        found.differences.append(difference)


def _by_field(id: str, field: str, replayed: object, live: object) -> Iterator[Difference]:
    """One difference for each field of a state that both sides have as JSON; else the whole."""
    try:
        if field != "state" or replayed is None or live is None:
            raise ValueError
        there, here = (msgspec.json.decode(str(side), type=dict[str, object]) for side in (replayed, live))
    except (ValueError, msgspec.MsgspecError):
        yield Difference(id, field, _text(replayed), _text(live))
        return
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            yield Difference(id, f"state.{name}", _json(there, name), _json(here, name))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _json(fields: Mapping[str, object], name: str) -> str | None:
    return msgspec.json.encode(fields[name]).decode() if name in fields else None


async def _size_differs(store: Store, id: str, created: FileCreated) -> Difference | None:
    """A byte on each side of the end tells the size; what is larger by more is no less wrong."""
    around = await store.read(created.storage_key, max(0, created.size - 1), created.size + 1)
    if len(around) == min(1, created.size):
        return None
    found = "longer" if len(around) > min(1, created.size) else "shorter"
    return Difference(id, "contents", f"{created.size:,} bytes", found)


async def _hash_differs(store: Store, id: str, created: FileCreated) -> Difference | None:
    digest = sha256()
    async for piece in store.get(created.storage_key):
        await asyncio.to_thread(digest.update, piece)
    if digest.hexdigest() == created.sha256:
        return None
    return Difference(id, "sha256", created.sha256, digest.hexdigest())
