"""The leader's desk keeps going: what one batch, the bus or the storage is in for stops no other."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from engine.dispatcher import BREATH, Dispatcher
from engine.routes import Route
from events.batch import BatchCreated, BatchStarted, StartBatch
from events.bus import LOOK, Notice, Work
from events.buses.local_bus import LocalBus
from events.errors import BusUnavailable
from events.event import NewEvent
from events.log import Board
from events.work import OpenBatch
from storage.local_folder import LocalFolder
from storage.store import StorageUnavailable
from tests.engine.recorded import PROJECT, WORKER, World, request_line, world_on
from tests.postgres import Database

ROUTE = Route("default", "http://upstream/v1")


class OpenRoute:
    reason: str | None = None


class AwayFolder(LocalFolder):
    """A disk that was taken away."""

    async def free_space(self) -> int | None:
        raise StorageUnavailable("/mnt/files: the disk did not answer within 30 s; is it healthy?")


class CountingBus(LocalBus):
    """A bus that remembers what was offered."""

    def __init__(self) -> None:
        super().__init__()
        self.offers = list[Work]()
        self.offered = asyncio.Event()

    async def offer(self, route: str, work: Work) -> None:
        self.offers.append(work)
        self.offered.set()


class FullBus(LocalBus):
    """A bus whose workers do not keep up."""

    async def offer(self, route: str, work: Work) -> None:
        raise BusUnavailable(f"route {route!r} has 10000 chunks waiting: workers do not keep up")


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


def dispatcher_of(world: World, clock: Callable[[], float] = time.monotonic, poll: float = 1.0) -> Dispatcher:
    options = msgspec.structs.replace(world.options, free_space_floor=0, poll=poll)
    return Dispatcher(world.journal, world.board, world.store, [(ROUTE, OpenRoute())], options, clock=clock)


async def running(world: World, lines: int) -> str:
    """A batch of which nothing is handed out yet."""
    batch = await world.created([request_line(n) for n in range(lines)])
    await batch.command(StartBatch(lines, "m"), Board(batch.id, PROJECT, "running", model="m", total=lines))
    return batch.id


async def end_time_of(world: World, batch_id: str) -> None:
    async with world.database.writing() as connection:
        await connection.execute(
            "UPDATE batch_work SET expires_at = clock_timestamp() WHERE batch_id = $1", batch_id
        )


async def write_event_of_a_newer_program(world: World, stream_id: str) -> None:
    event = NewEvent(uuid4(), stream_id, PROJECT, "BatchSublimated", "{}")
    await world.log.append([event])


async def on_board(world: World, batch_id: str) -> OpenBatch:
    (batch,) = await world.board.open_batches([batch_id])
    return batch


async def test_a_parked_batch_whose_time_is_over_holds_up_no_other(world: World) -> None:
    parked = await running(world, 3)
    await end_time_of(world, parked)
    await write_event_of_a_newer_program(world, parked)
    other = await running(world, 3)

    await dispatcher_of(world).look_at_everything(world.leadership)

    assert (await on_board(world, other)).next_line > 0
    assert "BatchSublimated" in ((await on_board(world, parked)).waiting or "")


async def test_a_batch_whose_row_was_dropped_holds_up_no_other_when_its_time_is_over(world: World) -> None:
    dropped, other = await running(world, 3), await running(world, 3)
    await end_time_of(world, dropped)
    async with world.database.writing() as connection:
        await connection.execute("DELETE FROM read_models WHERE id = $1", dropped)

    await dispatcher_of(world).look_at_everything(world.leadership)

    assert (await on_board(world, other)).next_line > 0
    assert dropped in ((await on_board(world, dropped)).waiting or "")


async def test_storage_that_is_away_is_said_and_ends_nothing(world: World, tmp_path: Path) -> None:
    batch_id = await running(world, 3)
    world.store = AwayFolder(tmp_path / "away")

    await dispatcher_of(world).look_at_everything(world.leadership)

    assert "the disk did not answer" in ((await on_board(world, batch_id)).waiting or "")
    assert (await on_board(world, batch_id)).next_line == 0


async def test_nothing_is_handed_out_for_a_route_that_every_worker_has_paused(world: World) -> None:
    batch_id = await running(world, 3)
    await world.board.beat(WORKER, {ROUTE.name: "route paused: connection refused"})

    await dispatcher_of(world).look_at_everything(world.leadership)

    assert (await on_board(world, batch_id)).waiting == "route paused: connection refused"
    assert (await on_board(world, batch_id)).next_line == 0


async def test_a_route_that_one_worker_has_open_is_handed_out_for(world: World) -> None:
    batch_id = await running(world, 3)
    await world.board.register("w-other")
    await world.board.beat(WORKER, {ROUTE.name: "route paused: connection refused"})

    await dispatcher_of(world).look_at_everything(world.leadership)

    assert (await on_board(world, batch_id)).next_line > 0


async def test_a_full_bus_is_said_and_ends_nothing(world: World) -> None:
    batch_id = await running(world, 3)
    world.journal.bus = FullBus()

    await dispatcher_of(world).look_at_everything(world.leadership)

    assert "workers do not keep up" in ((await on_board(world, batch_id)).waiting or "")


async def test_a_chunk_that_nobody_takes_is_offered_again_but_ever_more_seldom(world: World) -> None:
    await running(world, 1)
    world.journal.bus = bus = CountingBus()
    now = [0.0]
    dispatcher = dispatcher_of(world, clock=lambda: now[0])
    counts = []
    for now[0] in (0.0, 4.0, 5.0, 14.0, 15.0, 34.0, 35.0, 600.0):
        await dispatcher.look_at_everything(world.leadership)
        counts.append(len(bus.offers))

    assert counts == [1, 1, 2, 2, 3, 3, 4, 5]


async def test_a_chunk_that_is_free_again_is_offered_at_once(world: World) -> None:
    await running(world, 1)
    world.journal.bus = bus = CountingBus()
    dispatcher = dispatcher_of(world, clock=lambda: 0.0)
    await dispatcher.look_at_everything(world.leadership)
    claim = await world.board.claim(bus.offers[0].claim_id, WORKER)
    assert claim is not None
    await dispatcher.look_at_everything(world.leadership)
    await world.board.hand_back([claim])
    await dispatcher.look_at_everything(world.leadership)

    assert [work.claim_id for work in bus.offers] == [claim.id, claim.id]


async def test_a_batch_that_is_to_be_planned_puts_off_no_look_at_one_that_was(world: World) -> None:
    created, planned = await world.created([request_line(0)]), await running(world, 1)
    world.journal.bus = bus = CountingBus()
    dispatcher = dispatcher_of(world, poll=3600.0)
    looking = asyncio.create_task(dispatcher.run(world.leadership))
    try:
        async with asyncio.timeout(60):
            await bus.offered.wait()
            later = await running(world, 1)
            dispatcher.wake([Notice(created.id, BatchCreated.__name__, 1), Notice(created.id, LOOK, 0)])
            await asyncio.sleep(2 * BREATH)
            assert (await on_board(world, later)).next_line == 0
            dispatcher.wake([Notice(later, BatchStarted.__name__, 1)])
            while len(bus.offers) < 2:
                bus.offered.clear()
                await bus.offered.wait()
    finally:
        looking.cancel()

    assert [work.batch_id for work in bus.offers] == [planned, later]
