"""A worker is known to the others from its first beat until it leaves, and not a moment longer."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from engine.lane import Lane
from engine.recorder import Recorder
from engine.route_watch import RouteWatch
from engine.upstream import Answer, ModelsAnswer, Upstream
from engine.worker import Worker
from events.batch import Batch
from events.bus import Work
from events.errors import DatabaseUnavailable
from events.inputs.input_lines import InputLine, InputLines
from events.read_models import Seen
from events.work import WorkBoard
from tests.chaos.proxy import place_of, proxy_to, through
from tests.engine.recorded import WORKER, World, request_line, world_on
from tests.events.stage import Stage, open_stage
from tests.postgres import Database

BEAT = 0.01
ROUTE = "default"


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


class SlowInput(InputLines):
    """An input on a disk that answers when it is let."""

    asked = asyncio.Event()
    let = asyncio.Event()

    async def windows(self, ordinals: Iterable[int]) -> AsyncIterator[list[InputLine]]:
        self.asked.set()
        await self.let.wait()
        async for window in super().windows(ordinals):
            yield window


class Listener:
    """An upstream that answers everything and remembers what was sent."""

    url = "http://upstream/v1"

    def __init__(self) -> None:
        self.sent = list[bytes]()

    async def send(self, path: str, body: bytes, *, timeout: float) -> Answer:
        self.sent.append(body)
        return Answer(200, {}, b"{}")

    async def models(self) -> ModelsAnswer:
        return ModelsAnswer(200, None)

    async def close(self) -> None:
        return None


@asynccontextmanager
async def working(
    world: World, upstream: Upstream | None = None, input_of: type[InputLines] = InputLines
) -> AsyncIterator[Worker]:
    """A worker that beats fast and sends what it runs to `upstream`."""
    options = msgspec.structs.replace(world.options, beat=BEAT)

    def inputs(seen: Seen[Batch]) -> InputLines:
        return input_of(world.log, world.store, seen.id, seen.state.created)

    recorder = Recorder(world.journal, options)
    worker = Worker(world.board, world.models, world.journal.bus, inputs, recorder, options)
    if upstream is not None:
        watch = RouteWatch(ROUTE, upstream)
        worker.serve(ROUTE, Lane(upstream, watch, recorder, options, alive=worker.alive))
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def registered(world: World | Stage) -> dict[str, int]:
    """Workers and their beats, but for the one that worlds come with."""
    return {id: beat for id, beat in (await world.board.workers()).items() if id != WORKER}


async def beats_of_one(world: World | Stage, beats: int) -> str:
    """The id of the one worker, when it has beaten so often."""
    async with asyncio.timeout(60):
        while True:
            for id, beat in (await registered(world)).items():
                if beat >= beats:
                    return id


async def test_a_worker_that_was_declared_dead_begins_anew_under_another_name(world: World) -> None:
    async with working(world):
        first = await beats_of_one(world, 2)
        await world.board.void_claims([first])
        assert await beats_of_one(world, 2) != first


async def test_a_worker_says_by_which_name_events_and_histories_know_it(world: World) -> None:
    with capture_logs() as logs:
        async with working(world):
            id = await beats_of_one(world, 1)
    assert [entry["worker"] for entry in logs if entry["event"] == "registered"] == [id]


async def test_a_worker_that_has_left_stays_away(world: World) -> None:
    async with working(world) as worker:
        await beats_of_one(world, 2)
        await worker.stop()
        await asyncio.sleep(10 * BEAT)
        assert await registered(world) == {}


async def test_a_worker_outlives_connections_on_which_nothing_comes_through(
    database: Database, tmp_path: Path
) -> None:
    async with (
        open_stage(database.app_url) as near,
        proxy_to(place_of(database.app_url)) as proxy,
        world_on(through(proxy, database.app_url), tmp_path / "objects") as world,
        working(world),
    ):
        id = await beats_of_one(near, 2)
        for passage in proxy.passages:
            passage.stall()
        assert await beats_of_one(near, (await registered(near))[id] + 3) == id


class DistantBoard(WorkBoard):
    """A board whose database is away when it is asked for the first times."""

    refusals = 3

    async def register(self, worker_id: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise DatabaseUnavailable("away")
        await super().register(worker_id)


async def test_a_worker_that_begins_with_the_database_away_waits_for_it(world: World) -> None:
    board = DistantBoard(world.database)
    async with working(replace(world, board=board)):
        await beats_of_one(world, 2)
    assert board.refusals == 0


class ReadOnlyBoard(WorkBoard):
    """A board on which nobody can beat, as on a database that is read-only for a while."""

    read_only = True

    async def beat(self, worker_id: str, pauses: Mapping[str, str] | None = None) -> bool:
        if self.read_only:
            raise DatabaseUnavailable("read-only")
        return await super().beat(worker_id, pauses)


async def test_a_worker_that_cannot_beat_takes_nobody_for_dead(world: World) -> None:
    lease = 10 * BEAT
    board = ReadOnlyBoard(world.database)
    options = msgspec.structs.replace(world.options, lease=lease)
    async with working(replace(world, board=board, options=options)):
        await asyncio.sleep(5 * lease)
        assert WORKER in await world.board.workers()
        board.read_only = False
        async with asyncio.timeout(60):
            while WORKER in await world.board.workers():  # noqa: ASYNC110  # it happens in the database
                await asyncio.sleep(BEAT)


async def test_a_worker_stops_cleanly_with_the_database_away(world: World) -> None:
    async with working(world) as worker:
        await beats_of_one(world, 2)
        await world.database.close()
        await worker.stop()


async def test_a_worker_declared_dead_while_it_reads_a_chunk_sends_nothing_of_it(world: World) -> None:
    """Others may have run these lines by now, and recorded them."""
    upstream = Listener()
    batch = await world.batch([request_line(n) for n in range(3)])
    assert batch.claim is not None
    await world.board.hand_back([batch.claim])
    async with working(world, upstream, SlowInput):
        first = await beats_of_one(world, 2)
        await world.journal.bus.offer(ROUTE, Work(batch.id, batch.claim.id))
        await SlowInput.asked.wait()
        await world.board.void_claims([first])
        second = await beats_of_one(world, 2)
        SlowInput.let.set()
        await beats_of_one(world, (await registered(world))[second] + 5)
        assert upstream.sent == []


async def test_a_chunk_of_another_batch_than_was_offered_is_given_back(world: World) -> None:
    """A crash of the database may undo a hand-out, and the id of its chunk come again, on another route."""
    upstream = Listener()
    offered, batch = await world.created([request_line(0)]), await world.batch([request_line(0)])
    assert batch.claim is not None
    await world.board.hand_back([batch.claim])
    async with working(world, upstream) as worker:
        await beats_of_one(world, 1)
        assert await worker.begin(ROUTE, Work(offered.id, batch.claim.id)) is None
        assert [work.batch_id for work in await world.board.free_claims(10)] == [batch.id]
        assert upstream.sent == []
