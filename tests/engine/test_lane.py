"""Lines from claim to outcome: what is sent, what is not any more, and what is kept of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from engine.lookout import Lookout
from engine.routes import Route
from events.bus import Work
from events.errors import DatabaseUnavailable
from events.failpoint import arm
from tests.chaos.inputs import names
from tests.engine.recorded import WORKER, World, world_on
from tests.engine.running import ROUTE, station_on
from tests.events.stage import hand_out_one
from tests.postgres import Database
from tests.upstream import visits


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    arm("")


async def test_every_line_of_a_chunk_is_sent_once_and_recorded(world: World, ledger: Path) -> None:
    async with station_on(world, ledger, concurrency=4) as station:
        batch = await station.batch(names(20), {"line-3": "503x1", "line-5": "400"})
        await station.hand_out(batch, 20)
        state = await station.until_recorded(batch, 20)

    assert (state.completed, state.failed) == (19, 1)
    assert sorted(await station.recorded_lines(batch)) == list(range(20))
    assert [visit.line for visit in visits(ledger) if visit.number > 1] == ["line-3"]


async def test_what_is_answered_last_waits_for_no_flush(world: World, ledger: Path) -> None:
    async with station_on(world, ledger, concurrency=4, flush_interval=3600.0) as station:
        batch = await station.batch(names(3), {"line-1": "slow 0.1"})
        await station.hand_out(batch, 3)
        await station.until_recorded(batch, 3)

    assert await station.recorded_lines(batch) == [0, 1, 2]


async def test_a_chunk_called_off_while_it_is_claimed_sends_nothing(world: World, ledger: Path) -> None:
    async with station_on(world, ledger) as station:
        station.gate.clear()
        batch = await station.batch(names(5))
        await station.hand_out(batch, 5)
        await station.asked.wait()
        await batch.cancel()
        station.gate.set()
        board = await station.until_free(batch)

    assert (board.free, board.open_lines) == (1, 5)
    assert station.upstream.tries == 0


async def test_a_chunk_claimed_while_the_worker_stops_sends_nothing(world: World, ledger: Path) -> None:
    async with station_on(world, ledger, drain=0.1) as station:
        station.gate.clear()
        batch = await station.batch(names(5))
        await station.hand_out(batch, 5)
        await station.asked.wait()
        await station.worker.stop()
        station.gate.set()
        await station.until_free(batch)

    assert station.upstream.tries == 0


async def test_a_chunk_in_hand_for_long_is_given_back_but_for_what_is_under_way(
    world: World, ledger: Path
) -> None:
    async with station_on(world, ledger, concurrency=1, yield_after=0.1) as station:
        batch = await station.batch(names(4), {"line-0": "slow 0.5"})
        await station.hand_out(batch, 4)
        await station.upstream.until(lambda u: u.under_way == 1)
        board = await station.until_free(batch)

    assert (board.free, board.open_lines) == (1, 3)
    assert await station.recorded_lines(batch) == [0]


async def test_work_that_no_message_tells_of_is_found(world: World, ledger: Path) -> None:
    async with station_on(world, ledger, concurrency=2) as station:
        batch = await station.batch(names(20))
        for _ in range(4):
            await hand_out_one(world.board, world.leadership, await station.on_board(batch), 5)
        lookout = Lookout(
            world.board, world.journal.bus, station.worker, [Route(ROUTE, station.upstream.url)], poll=0.01
        )
        looking = asyncio.create_task(lookout.run())
        await station.until_recorded(batch, 20)
        await station.until_free(batch)
        looking.cancel()

    assert sorted(await station.recorded_lines(batch)) == list(range(20))
    assert station.upstream.tries == 20


async def test_near_the_end_of_a_batch_no_line_waits_for_a_slot_that_others_may_have(
    world: World, ledger: Path
) -> None:
    async with station_on(world, ledger, concurrency=4) as station:
        told = dict.fromkeys(names(3), "stall") | {"line-3": "slow 0.1"}
        batch = await station.batch(names(6), told)
        await station.hand_out(batch, 3)
        await station.hand_out(batch, 3)
        await station.upstream.until(lambda u: u.tries == 4)
        [rest] = await world.board.free_claims(10)
        state = await station.until_recorded(batch, 1)
        again = await world.board.claim(rest.claim_id, WORKER)
        assert again is not None
        assert again.open_lines() == [4, 5]

    assert rest.lines == 2
    assert state.completed == 1


async def test_what_is_left_of_a_chunk_is_found_as_soon_as_a_slot_is_free(world: World, ledger: Path) -> None:
    async with station_on(world, ledger, concurrency=4) as station:
        batch = await station.batch(names(9), dict.fromkeys(names(3), "stall"))
        for _ in range(3):
            await station.hand_out(batch, 3)
        routes = [Route(ROUTE, station.upstream.url)]
        lookout = Lookout(world.board, world.journal.bus, station.worker, routes, poll=3600.0)
        looking = asyncio.create_task(lookout.run())
        await station.until_recorded(batch, 6)
        looking.cancel()

    assert sorted(await station.recorded_lines(batch)) == [3, 4, 5, 6, 7, 8]


async def test_a_paused_route_takes_no_chunk_until_it_opens(world: World, ledger: Path) -> None:
    async with station_on(world, ledger, concurrency=1) as station:
        station.upstream.models_status = 500
        doubted = await station.batch(names(1), {"line-0": "503x1"})
        await station.hand_out(doubted, 1)
        await until_paused(world)
        batch = await station.batch(names(3))
        claim_id = await station.hand_out(batch, 3)
        assert await world.board.free_claims(10) == [Work(batch.id, claim_id, lines=3)]
        station.upstream.models_status = 200
        await station.until_recorded(batch, 3)
        await station.until_recorded(doubted, 1)


async def until_paused(world: World) -> None:
    """Returns when a worker has said that it paused the route."""
    async with asyncio.timeout(60):
        while not any(ROUTE in pauses for pauses in (await world.board.pauses()).values()):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)


async def test_what_was_answered_within_the_drain_is_recorded(world: World, ledger: Path) -> None:
    async with station_on(world, ledger, drain=0.1, flush_interval=60.0) as station:
        batch = await station.batch(names(3), {"line-2": "stall"})
        await station.hand_out(batch, 3)
        await station.upstream.until(lambda u: u.tries == 3 and u.under_way == 1)
        await station.worker.stop()

    assert await station.recorded_lines(batch) == [0, 1]


async def test_no_line_of_a_lost_claim_is_sent_any_more(world: World, ledger: Path) -> None:
    """Its worker learns of the loss from a flush, long before its next beat."""
    async with station_on(world, ledger, concurrency=1, beat=1000.0, lease=3000.0) as station:
        batch = await station.batch(names(6), {"line-0": "slow 0.2", "line-1": "slow 0.2"})
        await station.hand_out(batch, 6)
        await station.upstream.until(lambda u: u.tries == 1)
        others = [id for id in await world.board.workers() if id != WORKER]
        await world.board.void_claims(others)
        await station.upstream.until(lambda u: u.tries == 2 and u.under_way == 0)
        await asyncio.wait_for(station.recorder.emptied(), 60)

    assert await station.recorded_lines(batch) == []
    assert station.upstream.tries == 2


async def test_a_claim_whose_answer_was_lost_is_given_up_and_runs(world: World, ledger: Path) -> None:
    async with station_on(world, ledger) as station:
        batch = await station.batch(names(4))
        arm("claim.after=raise")
        claim_id = await station.hand_out(batch, 4)
        recorded = asyncio.create_task(station.until_recorded(batch, 4))
        while not recorded.done():  # the dispatcher offers again what still lies free
            await station.offer(Work(batch.id, claim_id))
            await asyncio.wait([recorded], timeout=0.1)
        await recorded

    assert station.upstream.tries == 4


async def test_suspects_run_alone(world: World, ledger: Path) -> None:
    async with station_on(world, ledger, concurrency=8) as station:
        station.upstream.latency = 0.03
        deadly = await station.batch(["line-a", "line-b", "line-c"])
        harmless = await station.batch(names(40))
        claim_id = await hand_out_one(world.board, world.leadership, await station.on_board(deadly), 3)
        assert claim_id is not None
        for _ in range(3):
            assert await world.board.claim(claim_id, WORKER) is not None
            await world.board.void_claims([WORKER])
            await world.board.register(WORKER)
        await station.hand_out(harmless, 20)
        suspects = [work for work in await world.board.free_claims(10) if work.batch_id == deadly.id]
        for work in suspects:
            await station.offer(work)
        await station.hand_out(harmless, 20)
        await station.until_recorded(deadly, 3)
        await station.until_recorded(harmless, 40)

    assert [work.suspect for work in suspects] == [True, True, True]
    assert station.upstream.tries == 43
    for one in visits(ledger):
        for other in visits(ledger):
            together = one is not other and one.line != other.line
            if together and one.line in ("line-a", "line-b", "line-c"):
                assert other.ended is not None
                assert one.ended is not None
                assert other.ended <= one.began or other.began >= one.ended


async def test_a_suspect_that_died_alone_twice_is_an_error_and_not_run(world: World, ledger: Path) -> None:
    async with station_on(world, ledger) as station:
        batch = await station.batch(["line-a"])
        claim_id = await hand_out_one(world.board, world.leadership, await station.on_board(batch), 1)
        for _ in range(5):
            assert claim_id is not None
            assert await world.board.claim(claim_id, WORKER) is not None
            await world.board.void_claims([WORKER])
            await world.board.register(WORKER)
            (work,) = await world.board.free_claims(1)
            claim_id = work.claim_id
        await station.offer(work)
        state = await station.until_recorded(batch, 1)

    assert (state.completed, state.failed) == (0, 1)
    assert station.upstream.tries == 0


async def test_a_chunk_whose_input_cannot_be_read_is_free_again_also_when_nobody_can_be_told(
    world: World, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(reasons: Mapping[str, str | None]) -> None:
        raise DatabaseUnavailable("the database is away")

    async with station_on(world, ledger) as station:
        batch = await station.batch(names(5))
        monkeypatch.setattr(world.board, "explain", silent)
        await world.store.delete(await world.object_of(batch.input_file_id))
        await station.hand_out(batch, 5)
        await station.asked.wait()
        board = await station.until_free(batch)

    assert (board.free, board.open_lines) == (1, 5)


async def test_a_line_that_waits_for_another_try_holds_up_no_other_chunk(world: World, ledger: Path) -> None:
    async with station_on(world, ledger, concurrency=1) as station:
        waiting = await station.batch(names(1), {"line-0": "429 retry-after 3600"})
        await station.hand_out(waiting, 1)
        await station.upstream.until(lambda u: u.tries == 1)
        other = await station.batch(names(2))
        await station.hand_out(other, 2)
        await station.until_recorded(other, 2)

    assert await station.recorded_lines(waiting) == []
