"""Makes the work board again from the log, for when it was lost: which batches are open, and chunks of all
their lines that have no outcome.

In one transaction that takes the board's locks in the log's lock order, so that a running system pauses and
goes on with what it finds. Which batches are open is found before, but for the youngest: the pause lasts for
those. Memory is that of one batch: a byte a line, the per-line facts flush by flush.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

import asyncpg
import msgspec

from events.batch import LAST_EVENTS, Batch
from events.database import errors_as_ours, single_connection
from events.log import Phase
from events.outcomes.lines import unpack_facts
from events.postgres_log import recorded_event
from events.rebuild import FoldedStream
from events.statements import load_statements

CHUNK: Final = 256
"""Most lines of a restored chunk."""
PAGE: Final = 1000
"""Batches looked at by one statement."""
_SQL: Final = load_statements("events", "sql/rebuild_board.sql")


class RebuiltBoard(msgspec.Struct, frozen=True):
    """The open batches on the board, and the chunks of them that anybody may claim. `parked` batches have an
    event that this program cannot fold: they are left off until one that can makes the board again."""

    batches: int
    chunks: int
    parked: int


async def rebuild_board(url: str) -> RebuiltBoard:
    """Drops and restores the work board in the database at `url` (the application's login suffices).

    Lines recorded in the log stay recorded; every other line of an open batch can be claimed again, under
    tokens that nobody has seen, so whatever runs now is run again. Raises `DatabaseUnavailable`, and
    `LogBusy` where somebody holds a lock for a minute.
    """
    connection = await single_connection(url)
    try:
        with errors_as_ours():
            found, position = await _open_batches(connection, 0)
            async with connection.transaction():
                for statement in ("limits", "pause", "pause_log"):
                    await connection.execute(_SQL[statement])
                found += (await _open_batches(connection, position))[0]
                return await _restore(connection, found)
    finally:
        await asyncio.shield(connection.close(timeout=10))


async def _open_batches(
    connection: "asyncpg.Connection[asyncpg.Record]", after: int
) -> tuple[list[str], int]:
    """Batches created after a position that have not ended, and the position to look on from."""
    head: int = await connection.fetchval(_SQL["head"])
    found: list[str] = []
    while page := await connection.fetch(_SQL["created"], after, PAGE, sorted(LAST_EVENTS)):
        found += [row["batch_id"] for row in page if row["batch_id"] is not None]
        after = page[-1]["position"]
    return found, max(after, head)


async def _restore(connection: "asyncpg.Connection[asyncpg.Record]", batch_ids: list[str]) -> RebuiltBoard:
    await connection.execute(_SQL["forget"])
    batches = chunks = parked = 0
    for batch_id in batch_ids:
        stream: FoldedStream | None = None
        async for record in connection.cursor(_SQL["stream"], batch_id, prefetch=PAGE):
            event = recorded_event(record)
            stream = stream or FoldedStream(event)
            stream.add(event)
        if stream is None or not isinstance(stream.state, Batch) or stream.parked is not None:
            parked += 1
        elif not stream.state.ended:
            batches += 1
            chunks += await _put_on_board(connection, stream, stream.state)
    return RebuiltBoard(batches, chunks, parked)


async def _put_on_board(
    connection: "asyncpg.Connection[asyncpg.Record]", stream: FoldedStream, batch: Batch
) -> int:
    """How many chunks it has."""
    batch_id = stream.first.stream_id
    done = bytearray(batch.total)
    async for record in connection.cursor(_SQL["facts"], batch_id, prefetch=20):
        for line in unpack_facts(record["lines"]).lines:
            done[line] = 1
    next_line = done.rfind(1) + 1
    await connection.execute(
        _SQL["add_batch"],
        batch_id,
        stream.first.project_id,
        phase_of(batch),
        batch.created.input_file_id if batch.created.input else "",
        batch.model,
        batch.total,
        next_line,
        float(batch.expires_at),
        stream.first.recorded_at,
        batch.estimated_tokens,
    )
    if batch.finalizing is not None:
        return 0
    chunks = list(open_chunks(done[:next_line]))
    await connection.execute(
        _SQL["add_claims"],
        batch_id,
        [first for first, _ in chunks],
        [len(bits) for _, bits in chunks],
        [bits for _, bits in chunks],
    )
    return len(chunks)


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
