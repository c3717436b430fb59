"""Restores from the log alone what can be dropped: read models, work board, the projector's checkpoint.

One transaction. It takes table locks in the log's lock order, so that a running system pauses and goes on
with what it finds; readers see the old rows until the commit. Memory is that of one stream: events come
stream by stream, the per-line facts of an open batch flush by flush.
"""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from events.batch import Batch
from events.catalog import State, fold, kind_of
from events.database import errors_as_ours, single_connection
from events.errors import UnknownEvent
from events.event import RecordedEvent
from events.file import File
from events.key import Key
from events.log import Kind, Phase
from events.outcomes.lines import unpack_facts
from events.postgres_log import recorded_event
from events.read_models import KINDS
from events.statements import load_statements
from events.upload import Upload
from events.webhooks.endpoint import WebhookEndpoint

PROJECTOR: Final = "projector"
"""The follower whose work a rebuild does; the checkpoints of others say what they sent, and stay."""
CHUNK: Final = 256
"""Most lines of a restored chunk."""
_ROWS: Final = 500
_COUNTED: Final[Mapping[type[State], str]] = {
    Batch: "batches",
    File: "files",
    Key: "keys",
    Upload: "uploads",
    WebhookEndpoint: "webhook_endpoints",
}
_SQL: Final = load_statements("events", "sql/rebuild.sql")


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild made. `parked` streams have an event that this program cannot fold; `unknown` ones
    belong to objects that it does not know at all, and have no row."""

    events: int
    batches: int
    files: int
    keys: int
    uploads: int
    webhook_endpoints: int
    open_batches: int
    claims: int
    parked: int
    unknown: int


class _Stream:
    """One stream, folded as far as this program can."""

    def __init__(self, first: RecordedEvent) -> None:
        self.id = first.stream_id
        self.project_id = first.project_id
        self.created_at: datetime = first.recorded_at
        self.state: State | None = None
        self.version = 0
        self.parked: str | None = None

    def add(self, event: RecordedEvent) -> None:
        if self.parked is not None:
            return
        try:
            self.state = fold(self.state, event)
            self.version = event.version
        except UnknownEvent as error:
            self.parked = str(error)


async def rebuild(url: str) -> Rebuilt:
    """Drops and restores everything that the log implies, in the database at `url` (the application's
    login suffices).

    Lines recorded in the log stay recorded; every other line of an open batch can be claimed again, under
    tokens that nobody has seen. An open batch whose stream is parked is left off the board until a program
    that knows its events rebuilds. Raises `DatabaseUnavailable`, and `LogBusy` where somebody holds a lock
    for a minute.
    """
    connection = await single_connection(url)
    try:
        with errors_as_ours():
            async with connection.transaction():
                return await _Rebuilding(connection).run()
    finally:
        await asyncio.shield(connection.close(timeout=10))


class _Rebuilding:
    """One pass over the log."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._rows: list[tuple[object, ...]] = []
        self._count = dict.fromkeys(Rebuilt.__struct_fields__, 0)

    async def run(self) -> Rebuilt:
        for statement in ("limits", "pause", "pause_log"):
            await self._connection.execute(_SQL[statement])
        await self._connection.execute(_SQL["forget"], PROJECTOR)
        stream: _Stream | None = None
        async for record in self._connection.cursor(_SQL["streams"], prefetch=_ROWS):
            event = recorded_event(record)
            self._count["events"] += 1
            if stream is None or stream.id != event.stream_id:
                await self._put(stream)
                stream = _Stream(event)
            stream.add(event)
        await self._put(stream)
        await self._write_rows()
        await self._connection.execute(_SQL["add_checkpoint"], PROJECTOR)
        return Rebuilt(**self._count)

    async def _put(self, stream: _Stream | None) -> None:
        if stream is None:
            return
        kind = kind_of(stream.id)
        if kind is None:
            self._count["unknown"] += 1
            return
        self._count["parked"] += stream.parked is not None
        if kind in _COUNTED:
            self._count[_COUNTED[kind]] += 1
        self._rows.append(_model_row(KINDS[kind], stream))
        if len(self._rows) >= _ROWS:
            await self._write_rows()
        if isinstance(stream.state, Batch) and not stream.state.ended and stream.parked is None:
            await self._put_on_board(stream, stream.state)

    async def _write_rows(self) -> None:
        if self._rows:
            await self._connection.execute(_SQL["add_models"], *map(list, zip(*self._rows, strict=True)))
            self._rows.clear()

    async def _put_on_board(self, stream: _Stream, batch: Batch) -> None:
        done = bytearray(batch.total)
        async for record in self._connection.cursor(_SQL["facts"], stream.id, prefetch=20):
            for line in unpack_facts(record["lines"]).lines:
                done[line] = 1
        next_line = done.rfind(1) + 1
        await self._connection.execute(
            _SQL["add_batch"],
            stream.id,
            stream.project_id,
            phase_of(batch),
            batch.created.input_file_id if batch.created.input else "",
            batch.model,
            batch.total,
            next_line,
            float(batch.expires_at),
            stream.created_at,
            batch.estimated_tokens,
        )
        self._count["open_batches"] += 1
        if batch.finalizing is None:
            chunks = list(open_chunks(done[:next_line]))
            self._count["claims"] += len(chunks)
            await self._connection.execute(
                _SQL["add_claims"],
                stream.id,
                [first for first, _ in chunks],
                [len(bits) for _, bits in chunks],
                [bits for _, bits in chunks],
            )


def phase_of(batch: Batch) -> Phase:
    """Where a batch that has not ended stands on the board."""
    if batch.status == "validating":
        return "planning"
    if batch.finalizing is not None:
        return "finalizing"
    return "stopping" if batch.stopping else "running"


def open_chunks(done: bytes | bytearray) -> Iterator[tuple[int, str]]:
    """(first line, done bits) of chunks that hold every line not done, each at most `CHUNK` lines from an
    open one to an open one. `done` has a byte a line, 1 where an outcome is recorded."""
    first = done.find(0)
    while first >= 0:
        end = done.rfind(0, first, first + CHUNK) + 1
        yield first, done[first:end].translate(_BITS).decode()
        first = done.find(0, end)


_BITS: Final = b"01" + bytes(254)


def _model_row(kind: Kind, stream: _Stream) -> tuple[object, ...]:
    state = stream.state
    label: str | None = None
    stored: str | None = None
    hidden = False
    if isinstance(state, File):
        label, stored, hidden = state.created.purpose, state.created.storage_key, state.gone
    elif isinstance(state, Key):
        label = state.created.sha256
    elif isinstance(state, Upload):
        hidden = state.status != "pending"
    elif isinstance(state, WebhookEndpoint):
        hidden = state.deleted_at is not None
    text = None if state is None else msgspec.json.encode(state).decode()
    return (
        stream.id,
        kind,
        stream.project_id,
        label,
        stored,
        stream.created_at,
        hidden,
        stream.version,
        text,
        stream.parked,
    )
