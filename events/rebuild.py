"""Makes the read models again from the log, beside the live ones, while everything goes on.

    begin ──▶ fold every stream into a copy ──▶ catch up with the log ──▶ swap, in one transaction
      ▲                                              │        ▲              │
      │                                              ▼        └──────────────┤ behind, or locked by others
      └───────────────── the live table has changed its shape ◀──────────────┘

Until the swap the live rows are untouched, whenever this dies; the next rebuild begins anew. One process at a
time leads it (`events/leadership.py`), and each write checks the token. Memory is that of one stream and a
page of events; each page is a statement of its own, so that no old snapshot lies on the database.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

import asyncpg
import msgspec

from events.batch import Batch
from events.catalog import State, fold, kind_of
from events.database import Database
from events.errors import DatabaseUnavailable, LogBusy, UnknownEvent
from events.event import RecordedEvent
from events.failpoint import at
from events.file import File
from events.key import Key
from events.leadership import Candidate
from events.log import Leadership
from events.model_row import FoldedRow, model_row
from events.postgres_log import recorded_event
from events.read_models import ReadModels, model_write
from events.reads import is_of_reads
from events.segments.segments import Segments
from events.segments.shelf import SegmentDamaged
from events.shape import decode_state
from events.statements import load_statements
from events.upload import Upload
from events.webhooks.endpoint import WebhookEndpoint
from events.work import WorkBoard
from storage.store import Store

LEADERSHIP: Final = "rebuild"
LEASE: Final = 5.0
"""Seconds after which a rebuild that stands still is taken for dead."""
PAGE: Final = 2000
"""Events read at once."""
ROWS: Final = 500
"""Rows written at once."""
TOUCHED: Final = 500
"""Events of the log looked at together while catching up."""
TAIL: Final = 200
"""Events of one stream read at once then."""
NEAR: Final = 500
"""Most events of the log that a swap may find not folded yet: it is to take milliseconds."""
WAITS: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds that the tries of a swap wait for the lock, while everybody waits behind it; the last one again and
again."""
TRIES: Final = 60
REST: Final = 0.5
"""Seconds between two tries."""
_SQL: Final = load_statements("events", "sql/rebuild.sql")


class Progress(msgspec.Struct, frozen=True):
    """`folded` of `events` so far, in the step named `doing`."""

    doing: str
    folded: int
    events: int


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild made. `parked` streams have an event that this program cannot fold; `unknown` ones
    belong to objects that it does not know at all, and have no row. `swapped_in` is how many seconds the
    swap took, from its first try to the answer."""

    events: int
    batches: int
    files: int
    keys: int
    uploads: int
    webhook_endpoints: int
    parked: int
    unknown: int
    swapped_in: float = 0.0


_COUNTED: Final = {
    Batch: "batches",
    File: "files",
    Key: "keys",
    Upload: "uploads",
    WebhookEndpoint: "webhook_endpoints",
}


class FoldedStream:
    """One stream, folded as far as this program can."""

    def __init__(self, first: RecordedEvent) -> None:
        self.first = first
        self.state: State | None = None
        self.version = 0
        self.parked: str | None = None

    def add(self, event: RecordedEvent) -> None:
        """The next event of the stream."""
        if self.parked is not None:
            return
        try:
            self.state = fold(self.state, event)
            self.version = event.version
        except UnknownEvent as error:
            self.parked = str(error)

    def row(self) -> FoldedRow | None:
        """The row of its object; None where this program has no such objects."""
        return model_row(self.first, self.state, self.version, self.parked)


async def rebuild(
    url: str,
    tell: Callable[[Progress], None] | None = None,
    lease: float = LEASE,
    *,
    store: Store | None = None,
) -> Rebuilt:
    """Makes the read models of the database at `url` again (the application's login suffices), and puts them
    in the place of the live ones. Everybody may go on reading and writing meanwhile. `store` is the storage
    that old events may be in.

    Waits for another rebuild to end, or to be dead for a `lease`. Takes up the work when a database that went
    away is back. Raises `DatabaseUnavailable` where it is away at the start, or the tables stay locked.
    """
    database = await Database.open(url, connections=4)
    try:
        return await _led(database, store, tell or (lambda _: None), lease)
    finally:
        await database.close()


async def _led(
    database: Database, store: Store | None, tell: Callable[[Progress], None], lease: float
) -> Rebuilt:
    result: asyncio.Future[Rebuilt] = asyncio.get_running_loop().create_future()

    async def lead(leadership: Leadership) -> None:
        try:
            result.set_result(await _Rebuilding(database, store, leadership, tell).run())
        except (_Locked, SegmentDamaged) as error:
            result.set_exception(error)
        await asyncio.Event().wait()  # until the candidate is told to stand down

    standing = asyncio.create_task(
        Candidate(
            LEADERSHIP, WorkBoard(database), lead, lease=lease, beat=lease / 5, clock=time.monotonic
        ).run()
    )
    standing.add_done_callback(lambda _: result.done() or result.cancel())
    try:
        return await result
    except asyncio.CancelledError:
        if standing.done() and not standing.cancelled():
            standing.result()
        raise
    finally:
        standing.cancel()
        await asyncio.wait({standing})


class _Locked(DatabaseUnavailable):
    """Others held the live table for all tries of the swap."""


class _Rebuilding:
    """One rebuild, under a leadership."""

    def __init__(
        self,
        database: Database,
        store: Store | None,
        leadership: Leadership,
        tell: Callable[[Progress], None],
    ) -> None:
        self._database = database
        self._segments = Segments(database, store)
        self._leadership = leadership
        self._tell = tell
        self._position = 0
        self._count: dict[str, int] = {}
        self._rows: list[FoldedRow] = []

    async def run(self) -> Rebuilt:
        """From the first event to the swap. Raises `LeadershipLost`, `_Locked` and what the database does."""
        while True:
            await self._begin()
            await self._fold_everything()
            await self._catch_up()
            await self._write("analyze")
            seconds = await self._swap()
            if seconds is not None:
                await self._forward()
                return Rebuilt(**self._count, swapped_in=round(seconds, 4))

    async def _begin(self) -> None:
        self._rows.clear()
        self._count = dict.fromkeys(Rebuilt.__struct_fields__[:-1], 0)
        self._position = int(await self._write("begin"))

    async def _fold_everything(self) -> None:
        head = self._position
        stream: FoldedStream | None = None
        async for page in self._segments.streams(PAGE):
            for event in page:
                if stream is None or stream.first.stream_id != event.stream_id:
                    self._put(stream)
                    stream = FoldedStream(event)
                stream.add(event)
            self._count["events"] += len(page)
            self._tell(Progress("folding", min(self._count["events"], head), head))
            if len(self._rows) >= ROWS:
                await self._write_rows(self._position)
        self._put(stream)
        await self._write_rows(self._position)

    def _put(self, stream: FoldedStream | None) -> None:
        if stream is None or is_of_reads(stream.first.stream_id):
            return
        row, kind = stream.row(), kind_of(stream.first.stream_id)
        if row is None or kind is None:
            self._count["unknown"] += 1
            return
        self._count["parked"] += stream.parked is not None
        if kind in _COUNTED:
            self._count[_COUNTED[kind]] += 1
        self._rows.append(row)

    async def _catch_up(self) -> None:
        """Folds what was recorded since, until nothing of it is left."""
        while page := await self._read("touched", self._position, TOUCHED):
            await self._fold_tails(sorted({row["stream_id"] for row in page}))
            await self._write_rows(page[-1]["position"])
            self._position = page[-1]["position"]
            self._tell(Progress("catching up", self._position, self._position))
            if len(page) < TOUCHED:
                return

    async def _fold_tails(self, ids: Sequence[str]) -> None:
        """Folds streams to their ends, from where the copy has them."""
        left = [id for id in ids if kind_of(id) is not None]
        while left:
            records = await self._read("tails", left, TAIL)
            left = []
            for id, tail in groupby(records, key=lambda record: str(record["stream_id"])):
                events = list(tail)
                if events[0]["parked"] is None:
                    self._rows.append(_folded_on(id, events))
                    self._count["events"] += len(events)
                    left += [id] if len(events) == TAIL else []
            await self._write_rows(self._position)

    async def _swap(self) -> float | None:
        """Seconds that it took; None where the copy must be begun anew."""
        began = time.monotonic()
        for attempt in range(TRIES):
            await at("swap.before")
            patience = WAITS[min(attempt, len(WAITS) - 1)]
            self._tell(Progress("swapping", self._position, self._position))
            try:
                became = await self._write("swap", self._position, NEAR, f"{patience * 1000:.0f}ms")
            except LogBusy as error:
                held = str(error)
                await asyncio.sleep(REST)
            else:
                await at("swap.after")
                if became == "swapped":
                    return time.monotonic() - began
                if became == "changed":
                    return None
                held = "the log grew faster than it was folded"
            await self._catch_up()
        raise _Locked(
            f"the read models could not be swapped in {TRIES} tries ({held}): see who holds read_models in "
            "pg_stat_activity (a dump, a long transaction), and run `batchmill rebuild` again"
        )

    async def _forward(self) -> None:
        """Moves the rows forward that the projector wrote between the last look and the swap: their place was
        taken by rows that are not as far."""
        models = ReadModels(self._database)
        touched = await self._read("touched", self._position, NEAR)
        for id in sorted({row["stream_id"] for row in touched}):
            kind = kind_of(id)
            try:
                seen = None if kind is None else await models.find(kind, id)
            except UnknownEvent:  # a newer program's, which brings it forward itself
                continue
            if seen is not None:
                await models.advance([model_write(seen)])

    async def _write_rows(self, upto: int) -> None:
        for start in range(0, len(self._rows), ROWS) or (0,):
            rows = self._rows[start : start + ROWS]
            columns = [[getattr(row, name) for row in rows] for name in FoldedRow.__struct_fields__]
            await at("copy.before")
            await self._write("write", upto, *columns)
            await at("copy.after")
        self._rows.clear()

    async def _read(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async with self._database.reading() as connection:
            return await connection.fetch(_SQL[statement], *arguments)

    async def _write(self, statement: str, *arguments: object) -> str | int:
        async with self._database.writing() as connection:
            answer: str | int = await connection.fetchval(
                _SQL[statement], self._leadership.name, self._leadership.token, *arguments
            )
        return answer


def _folded_on(id: str, events: Sequence[asyncpg.Record]) -> FoldedRow:
    """The row of a stream after its next events, each with the row of the copy before them."""
    kind, before = kind_of(id), events[0]
    assert kind is not None
    stream = FoldedStream(msgspec.structs.replace(recorded_event(before), recorded_at=before["began_at"]))
    if before["state"] is not None:
        stream.state = decode_state(kind, before["state"], id)
        stream.version = before["row_version"]
    for event in events:
        stream.add(recorded_event(event))
    row = stream.row()
    assert row is not None
    return row
