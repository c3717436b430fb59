"""One leader at a time: won by watching, lost by silence, and nothing written by who only thinks it leads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.batch import Batch
from events.errors import DatabaseUnavailable, LeadershipLost
from events.leadership import Candidate
from events.log import Leadership
from events.read_models import model_write
from events.staleness import Watch
from events.work import WorkBoard
from tests.events.stage import Stage, hand_out_one

LEASE: Final = 0.4
BEAT: Final = 0.05
PATIENCE: Final = 60.0
SHORT: Final = st.integers(1, 32).map(lambda n: n / 64)
"""Pauses that no sum of them rounds, at most half of a lease of one second."""


@given(st.lists(st.tuples(SHORT, st.integers(0, 3)), max_size=60))
def test_stale_is_what_stood_still_for_a_whole_lease_under_uninterrupted_watch(
    looks: list[tuple[float, int]],
) -> None:
    watch: Watch[int] = Watch(1.0)
    now, history = 0.0, list[tuple[float, int]]()
    for pause, beat in looks:
        now += pause
        history.append((now, beat))
        still = [moment for moment, seen in history if seen != beat]
        since = next(moment for moment, _ in history if not still or moment > still[-1])
        assert watch.stale(beat, now) == (now - since >= 1.0)


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 2), st.booleans()), max_size=60))
def test_nothing_is_stale_sooner_than_a_lease_after_a_pause_or_a_failed_read(
    looks: list[tuple[float, int, bool]],
) -> None:
    watch: Watch[int] = Watch(1.0)
    now = last = 0.0
    blind = 0.0
    for pause, beat, readable in looks:
        now += pause
        if not readable:
            watch.forget()
            blind = now
            continue
        if now - last > 0.5:
            blind = now
        last = now
        if watch.stale(beat, now):
            assert now - blind >= 1.0


def test_after_an_outage_of_the_database_nobody_is_stale_yet() -> None:
    watch: Watch[str] = Watch(5.0)
    for second in range(5):
        assert not watch.stale("beat 7", float(second))
    watch.forget()
    assert not watch.stale("beat 7", 100.0)
    assert not watch.stale("beat 7", 102.0)
    assert not watch.stale("beat 7", 104.0)
    assert watch.stale("beat 7", 105.0)


def test_an_observer_that_slept_knows_nothing() -> None:
    watch: Watch[str] = Watch(5.0)
    assert not watch.stale("beat 7", 0.0)
    assert not watch.stale("beat 7", 60.0)
    assert not watch.stale("beat 8", 62.0)


class Leading:
    """What a candidate does while it leads."""

    def __init__(self) -> None:
        self.terms: asyncio.Queue[Leadership] = asyncio.Queue()
        self.ended: asyncio.Queue[Leadership] = asyncio.Queue()

    async def __call__(self, leadership: Leadership) -> None:
        self.terms.put_nowait(leadership)
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.put_nowait(leadership)

    async def won(self) -> Leadership:
        async with asyncio.timeout(PATIENCE):
            return await self.terms.get()


@asynccontextmanager
async def standing(board: WorkBoard, lead: Leading) -> AsyncIterator[Candidate]:
    """A candidate that stands for the leadership as long as the block runs."""
    clock = asyncio.get_running_loop().time
    candidate = Candidate("engine", board, lead, lease=LEASE, beat=BEAT, clock=clock)
    running = asyncio.create_task(candidate.run())
    try:
        yield candidate
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


class FrozenBoard(WorkBoard):
    """The board of a process that can be frozen: none of its calls returns until it is thawed."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.database)
        self.thawed = asyncio.Event()
        self.thawed.set()
        self.broken = False

    async def _pass(self) -> None:
        await self.thawed.wait()
        if self.broken:
            raise DatabaseUnavailable("the database is away")

    async def observe(self, leadership: str) -> tuple[UUID, int] | None:
        await self._pass()
        return await super().observe(leadership)

    async def beat_leadership(self, leadership: Leadership) -> bool:
        await self._pass()
        return await super().beat_leadership(leadership)


async def test_the_first_candidate_leads_and_the_second_waits_until_it_steps_down(stage: Stage) -> None:
    first, second = Leading(), Leading()
    async with standing(stage.board, second):
        leader = await second.won()
        async with standing(stage.board, first) as waiting:
            async with asyncio.timeout(PATIENCE):
                while (await stage.board.observe("engine") or (None, 0))[1] < 3:  # noqa: ASYNC110  # a beat
                    await asyncio.sleep(BEAT)
            assert not waiting.leading
            assert first.terms.empty()
            assert (await stage.board.observe("engine") or (None,))[0] == leader.token
    async with standing(stage.board, first):
        assert (await first.won()).token != leader.token


async def test_a_frozen_leader_is_replaced_and_can_write_nothing_when_it_thaws(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=1)
    seen = await stage.models.get(Batch, batch_id)
    frozen, heir = Leading(), Leading()
    board = FrozenBoard(stage)
    async with standing(board, frozen):
        former = await frozen.won()
        await stage.models.advance([model_write(seen)], follower="f", upto=1, leadership=former)
        board.thawed.clear()
        async with standing(stage.board, heir):
            current = await heir.won()
            with pytest.raises(LeadershipLost):
                await stage.models.advance([model_write(seen)], follower="f", upto=2, leadership=former)
            assert await stage.models.checkpoint("f") == 1
            [batch] = await stage.board.open_batches()
            with pytest.raises(LeadershipLost):
                await hand_out_one(stage.board, former, batch, 1)
            assert await hand_out_one(stage.board, current, batch, 1) is not None
            board.thawed.set()
            async with asyncio.timeout(PATIENCE):
                assert await frozen.ended.get() == former
            assert (await stage.board.observe("engine") or (None,))[0] == current.token


async def test_a_leader_that_cannot_reach_the_database_stops_leading_and_stands_again(stage: Stage) -> None:
    leading = Leading()
    board = FrozenBoard(stage)
    async with standing(board, leading) as candidate:
        first = await leading.won()
        sure = [candidate.sure]
        board.broken = True
        async with asyncio.timeout(PATIENCE):
            assert await leading.ended.get() == first
        sure.append(candidate.sure)
        board.broken = False
        second = await leading.won()
        assert candidate.leading
        assert second.token != first.token
    assert sure == [True, False]


async def test_a_leadership_changes_hands_only_as_it_was_observed(stage: Stage) -> None:
    leader = await stage.board.take_leadership("engine", None)
    assert leader is not None
    observed = await stage.board.observe("engine")
    assert observed == (leader.token, 0)
    assert await stage.board.beat_leadership(leader)
    assert await stage.board.take_leadership("engine", observed) is None
    assert await stage.board.take_leadership("engine", None) is None
    heir = await stage.board.take_leadership("engine", (leader.token, 1))
    assert heir is not None
    assert not await stage.board.beat_leadership(leader)
    await stage.board.leave_leadership("engine", leader.token)
    assert await stage.board.beat_leadership(heir)
    await stage.board.leave_leadership("engine", None)
    assert await stage.board.observe("engine") is None


async def test_of_many_who_saw_the_same_one_takes_over(stage: Stage) -> None:
    await stage.board.take_leadership("engine", None)
    observed = await stage.board.observe("engine")
    taken = await asyncio.gather(*(stage.board.take_leadership("engine", observed) for _ in range(8)))
    assert sum(leadership is not None for leadership in taken) == 1


async def test_a_leader_that_fails_at_once_rests_before_it_stands_again(stage: Stage) -> None:
    clock = asyncio.get_running_loop().time
    began = list[float]()
    tried = asyncio.Event()

    async def lead(leadership: Leadership) -> None:
        began.append(clock())
        if len(began) == 3:
            tried.set()
        raise DatabaseUnavailable("the database is away")

    candidate = Candidate("engine", stage.board, lead, lease=LEASE, beat=BEAT, clock=clock)
    running = asyncio.create_task(candidate.run())
    async with asyncio.timeout(PATIENCE):
        await tried.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert all(later - earlier >= BEAT for earlier, later in pairwise(began))
