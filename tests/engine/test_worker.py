"""A worker is known to the others from its first beat until it leaves, and not a moment longer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from engine.input_lines import InputLines
from engine.recorder import Recorder
from engine.worker import Worker
from events.batch import Batch
from events.read_models import Seen
from tests.engine.recorded import WORKER, World, world_on
from tests.postgres import Database

BEAT = 0.01


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


@asynccontextmanager
async def working(world: World) -> AsyncIterator[Worker]:
    """A worker that beats fast and has nothing to run."""
    options = msgspec.structs.replace(world.options, beat=BEAT)

    def inputs(seen: Seen[Batch]) -> InputLines:
        return InputLines(world.log, world.store, seen.id, seen.state.created)

    recorder = Recorder(world.journal, options)
    worker = Worker(world.board, world.models, world.journal.bus, inputs, recorder, options)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def registered(world: World) -> dict[str, int]:
    """Workers and their beats, but for the one that worlds come with."""
    return {id: beat for id, beat in (await world.board.workers()).items() if id != WORKER}


async def beats_of_one(world: World, beats: int) -> str:
    """The id of the one worker, when it has beaten so often."""
    async with asyncio.timeout(10):
        while True:
            for id, beat in (await registered(world)).items():
                if beat >= beats:
                    return id


async def test_a_worker_that_was_declared_dead_begins_anew_under_another_name(world: World) -> None:
    async with working(world):
        first = await beats_of_one(world, 2)
        await world.board.void_claims([first])
        assert await beats_of_one(world, 2) != first


async def test_a_worker_that_has_left_stays_away(world: World) -> None:
    async with working(world) as worker:
        await beats_of_one(world, 2)
        await worker.stop()
        await asyncio.sleep(10 * BEAT)
        assert await registered(world) == {}
