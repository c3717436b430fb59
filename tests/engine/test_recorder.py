"""The recorder: every outcome it takes is in the log once, or its claim is known to be lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from engine.chunk import Chunk
from engine.recorder import Recorder
from events.event import ATTACHMENT_BYTES
from events.failpoint import arm
from events.outcomes.lines import LineFacts, unpack_facts
from tests.engine.recorded import ENDPOINT, WORKER, RecordedBatch, World, outcome, request_line, world_on
from tests.postgres import Database

FLUSH_BYTES = 100_000


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    arm("")


@asynccontextmanager
async def recording(world: World) -> AsyncIterator[Recorder]:
    """A recorder at work that flushes when asked, or when it has enough."""
    options = msgspec.structs.replace(world.options, flush_interval=60.0, flush_bytes=FLUSH_BYTES)
    recorder = Recorder(world.journal, options)
    running = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def batch_of(world: World, lines: int) -> tuple[RecordedBatch, Chunk]:
    """A batch with all its lines in one chunk in hand."""
    batch = await world.batch([request_line(n) for n in range(lines)])
    assert batch.claim is not None
    return batch, Chunk(batch.claim, WORKER, ENDPOINT, deadline=float("inf"))


async def flushes(world: World, batch: RecordedBatch) -> list[LineFacts]:
    """What each flush of a batch recorded, in order."""
    return [unpack_facts(column) for _, _, column in await world.log.facts(batch.id)]


async def test_what_finished_meanwhile_is_one_event_in_line_order(world: World) -> None:
    batch, chunk = await batch_of(world, 5)
    async with recording(world) as recorder:
        for line in (3, 0, 4, 1):
            recorder.add(chunk, outcome(batch.id, line))
        await recorder.emptied()

    assert [facts.lines for facts in await flushes(world, batch)] == [[0, 1, 3, 4]]
    assert (chunk.unsettled, recorder.held_bytes) == (1, 0)


async def test_several_claims_are_recorded_together_each_in_its_own_event(world: World) -> None:
    first, of_first = await batch_of(world, 2)
    second, of_second = await batch_of(world, 2)
    async with recording(world) as recorder:
        for line in (0, 1):
            recorder.add(of_first, outcome(first.id, line))
            recorder.add(of_second, outcome(second.id, line))
        await recorder.emptied()

    for batch in (first, second):
        assert [facts.lines for facts in await flushes(world, batch)] == [[0, 1]]


async def test_a_flush_holds_whole_lines_up_to_its_bytes(world: World) -> None:
    batch, chunk = await batch_of(world, 6)
    async with recording(world) as recorder:
        for line in range(6):
            recorder.add(chunk, outcome(batch.id, line, size=FLUSH_BYTES // 2 - 1000))
        await recorder.emptied()

    recorded = await flushes(world, batch)
    assert [line for facts in recorded for line in facts.lines] == list(range(6))
    assert [sum(facts.sizes) <= FLUSH_BYTES for facts in recorded] == [True] * 3
    assert (await batch.state()).completed == 6


async def test_a_line_larger_than_any_attachment_goes_alone(world: World) -> None:
    batch, chunk = await batch_of(world, 3)
    async with recording(world) as recorder:
        recorder.add(chunk, outcome(batch.id, 0))
        recorder.add(chunk, outcome(batch.id, 1, size=ATTACHMENT_BYTES + 1))
        recorder.add(chunk, outcome(batch.id, 2))
        await recorder.emptied()

    recorded = await flushes(world, batch)
    assert [1] in [facts.lines for facts in recorded]
    assert sorted(line for facts in recorded for line in facts.lines) == [0, 1, 2]


@pytest.mark.parametrize("point", ["flush.before", "flush.after"])
async def test_a_lost_answer_neither_doubles_nor_loses_an_outcome(point: str, world: World) -> None:
    batch, chunk = await batch_of(world, 3)
    arm(f"{point}=raise")
    async with recording(world) as recorder:
        for line in range(3):
            recorder.add(chunk, outcome(batch.id, line))
        await recorder.emptied()

    assert [facts.lines for facts in await flushes(world, batch)] == [[0, 1, 2]]
    assert chunk.unsettled == 0


async def test_outcomes_of_a_lost_claim_are_dropped_and_its_chunk_is_lost(world: World) -> None:
    lost, of_lost = await batch_of(world, 2)
    await world.board.void_claims([WORKER])
    await world.board.register(WORKER)
    held, of_held = await batch_of(world, 2)
    async with recording(world) as recorder:
        recorder.add(of_lost, outcome(lost.id, 0))
        recorder.add(of_held, outcome(held.id, 0))
        await recorder.emptied()
        recorder.add(of_lost, outcome(lost.id, 1))
        await of_lost.settled()

    assert of_lost.lost
    assert not of_held.lost
    assert await flushes(world, lost) == []
    assert [facts.lines for facts in await flushes(world, held)] == [[0]]
    assert recorder.held_bytes == 0
