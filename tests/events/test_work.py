"""The work board: chunks handed out once, claims that die with their worker, lines that kill are isolated."""

import asyncio

import pytest

from events.batch import BatchStarted
from events.bus import Work
from events.catalog import new_event
from events.errors import LeadershipLost
from events.log import Board
from tests.events.stage import PROJECT, Stage, flush_of, hand_out_one

WAYS_TO_THE_DATABASE = ("direct", "pgbouncer")


async def test_lines_are_handed_out_once_and_only_as_far_as_there_are_any(stage: Stage) -> None:
    leader = await stage.lead()
    batch_id = await stage.running_batch(lines=10)
    [batch] = await stage.board.open_batches()
    made = await asyncio.gather(*(hand_out_one(stage.board, leader, batch, 4) for _ in range(6)))
    assert sum(claim is not None for claim in made) == 1
    [batch] = await stage.board.open_batches([batch_id])
    assert (batch.next_line, batch.free, batch.held, batch.open_lines, batch.lines_left) == (4, 1, 0, 4, 10)
    assert await hand_out_one(stage.board, leader, batch, 7) is None
    assert await hand_out_one(stage.board, leader, batch, 6) is not None


@pytest.mark.parametrize("phase", ["planning", "stopping", "finalizing"])
async def test_nothing_starts_of_a_batch_that_does_not_run(stage: Stage, phase: str) -> None:
    leader = await stage.lead()
    batch_id = await stage.running_batch(lines=10)
    [batch] = await stage.board.open_batches()
    claim_id = await hand_out_one(stage.board, leader, batch, 5)
    assert claim_id is not None
    await stage.log.append(
        [new_event(batch_id, PROJECT, BatchStarted(10, "m"))],
        board=Board(batch_id, PROJECT, phase),  # type: ignore[arg-type]  # one of the phases
    )
    [batch] = await stage.board.open_batches()
    assert await hand_out_one(stage.board, leader, batch, 5) is None
    assert await stage.board.claim(claim_id, await stage.worker()) is None


async def test_only_the_leader_hands_out(stage: Stage) -> None:
    former = await stage.lead()
    await stage.running_batch(lines=10)
    [batch] = await stage.board.open_batches()
    await stage.lead()
    with pytest.raises(LeadershipLost):
        await hand_out_one(stage.board, former, batch, 5)


async def test_a_chunk_has_one_holder(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=4)
    [claim] = await stage.claims(batch_id, [0, 4])
    await stage.board.hand_back([claim])
    assert await stage.board.free_claims(10) == [Work(batch_id, claim.id, lines=4)]
    workers = [await stage.worker() for _ in range(6)]
    taken = await asyncio.gather(*(stage.board.claim(claim.id, worker) for worker in workers))
    assert sum(one is not None for one in taken) == 1
    assert await stage.board.free_claims(10) == []


async def test_of_a_chunk_no_more_is_taken_than_wanted_and_the_rest_stays_free(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=10)
    [whole] = await stage.claims(batch_id, [0, 10])
    await stage.board.void_claims(None)
    worker = await stage.worker()
    part = await stage.board.claim(whole.id, worker, most=3)
    assert part is not None
    assert (part.open_lines(), part.deaths) == ([0, 1, 2], 1)
    [rest] = await stage.board.free_claims(10)
    assert rest.lines == 7
    others = await stage.board.claim(rest.claim_id, worker, most=100)
    assert others is not None
    assert (others.open_lines(), others.deaths) == ([3, 4, 5, 6, 7, 8, 9], 1)
    assert await stage.board.free_claims(10) == []
    [batch] = await stage.board.open_batches()
    assert (batch.held, batch.open_lines) == (2, 10)
    flushes = [flush_of(part, part.open_lines()), flush_of(others, others.open_lines())]
    assert list(await stage.log.flush(flushes)) == ["recorded", "recorded"]
    [batch] = await stage.board.open_batches()
    assert batch.lines_left == 0


async def test_a_chunk_with_an_outcome_is_taken_whole(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=4)
    [claim] = await stage.claims(batch_id, [0, 4])
    await stage.log.flush([flush_of(claim, [0])])
    await stage.board.hand_back([claim])
    again = await stage.board.claim(claim.id, await stage.worker(), most=1)
    assert again is not None
    assert again.open_lines() == [1, 2, 3]
    assert await stage.board.free_claims(10) == []


async def test_only_a_registered_worker_may_claim(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=4)
    [claim] = await stage.claims(batch_id, [0, 4])
    await stage.board.hand_back([claim])
    assert await stage.board.claim(claim.id, "w-stranger") is None
    assert not await stage.board.beat("w-stranger")


async def test_handing_back_frees_only_what_is_still_held(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=4)
    [old] = await stage.claims(batch_id, [0, 4])
    await stage.board.hand_back([old])
    new = await stage.board.claim(old.id, await stage.worker())
    await stage.board.hand_back([old])
    assert new is not None
    assert await stage.log.flush([flush_of(new, [0])]) == ["recorded"]


async def test_a_dead_worker_loses_its_claims_and_its_place(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=8)
    dead, alive = await stage.worker(), await stage.worker()
    lost, *_ = await stage.claims(batch_id, [0, 4], dead)
    [kept] = await stage.claims(batch_id, [4, 8], alive)
    assert await stage.board.void_claims([dead]) == 1
    assert not await stage.board.beat(dead)
    assert await stage.board.beat(alive)
    assert set(await stage.board.workers()) == {alive}
    assert await stage.log.flush([flush_of(lost, [0]), flush_of(kept, [4])]) == ["lost", "recorded"]
    assert await stage.board.void_claims(None) == 1
    assert await stage.board.workers() == {}


async def test_what_the_dead_had_in_hand_is_taken_before_what_waits_its_first_turn(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=40)
    dead, alive = await stage.worker(), await stage.worker()
    held = await stage.claims(batch_id, [0, 10, 20], dead)
    [ready] = await stage.claims(batch_id, [20, 40])
    await stage.board.hand_back([ready])
    await stage.board.void_claims([dead])
    taken = [await stage.board.claim(ready.id, alive) for _ in range(4)]
    assert [claim and claim.id for claim in taken] == [*(claim.id for claim in held), ready.id, None]


async def test_a_worker_says_with_its_beat_what_it_has_paused(stage: Stage) -> None:
    paused, open_ = await stage.worker(), await stage.worker()
    await stage.board.beat(paused, {"default": "route paused: connection refused"})
    assert await stage.board.pauses() == {paused: {"default": "route paused: connection refused"}, open_: {}}
    await stage.board.beat(paused)
    assert await stage.board.pauses() == {paused: {}, open_: {}}


async def test_one_helper_at_a_time_has_a_batch_in_hand(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=4)
    assert await stage.board.lend_hand(batch_id, "d-1", lease=60)
    assert not await stage.board.lend_hand(batch_id, "d-2", lease=60)
    assert await stage.board.lend_hand(batch_id, "d-1", lease=60)
    await stage.board.withdraw_hand(batch_id, "d-2")
    assert not await stage.board.lend_hand(batch_id, "d-2", lease=60)
    await stage.board.withdraw_hand(batch_id, "d-1")
    assert await stage.board.lend_hand(batch_id, "d-2", lease=60)


async def test_only_what_can_be_made_again_waits_for_no_disk(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=4)
    (batch,) = await stage.board.open_batches([batch_id])
    for write in (
        stage.board.lend_hand(batch_id, "d-1", lease=60),
        hand_out_one(stage.board, await stage.lead(), batch, 1),
        stage.board.withdraw_hand(batch_id, "d-1"),
        stage.models.advance([]),
    ):
        await write
        async with stage.database.writing() as connection:
            assert await connection.fetchval("SHOW synchronous_commit") == "on"


async def test_a_helper_that_shows_nothing_for_a_lease_is_replaced(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=4)
    assert await stage.board.lend_hand(batch_id, "d-1", lease=60)
    assert await stage.board.lend_hand(batch_id, "d-2", lease=0)
    assert not await stage.board.lend_hand(batch_id, "d-1", lease=60)


async def test_where_everybody_is_dead_nobody_has_a_batch_in_hand(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=4)
    assert await stage.board.lend_hand(batch_id, "d-1", lease=60)
    await stage.board.void_claims(None)
    assert await stage.board.lend_hand(batch_id, "d-2", lease=60)


async def test_a_worker_that_leaves_frees_its_claims_without_a_death(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=4)
    worker, heir = await stage.worker(), await stage.worker()
    [claim] = await stage.claims(batch_id, [0, 4], worker)
    await stage.board.leave(worker)
    again = await stage.board.claim(claim.id, heir)
    assert again is not None
    assert again.deaths == 0


async def test_a_claim_that_raced_with_its_workers_death_is_found(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=4)
    worker = await stage.worker()
    await stage.claims(batch_id, [0, 4], worker)
    assert await stage.board.strays() == []
    async with stage.database.writing() as connection:
        await connection.execute("DELETE FROM workers WHERE id = $1", worker)
    assert await stage.board.strays() == [worker]
    assert await stage.board.void_claims([worker]) == 1
    assert await stage.board.strays() == []


async def test_a_chunk_that_died_three_times_is_cut_into_suspects_of_one_line(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=5)
    [claim] = await stage.claims(batch_id, [0, 5])
    await stage.log.flush([flush_of(claim, [1])])
    for deaths in range(3):
        [work] = await stage.board.free_claims(10) if deaths else [Work(batch_id, claim.id)]
        assert not work.suspect
        if deaths:
            again = await stage.board.claim(work.claim_id, await stage.worker())
            assert again is not None
            assert again.deaths == deaths
        await stage.board.void_claims(None)
    works = await stage.board.free_claims(10)
    assert [work.suspect for work in works] == [True] * 4
    worker = await stage.worker()
    suspects = [await stage.board.claim(work.claim_id, worker) for work in works]
    assert [suspect and suspect.open_lines() for suspect in suspects] == [[0], [2], [3], [4]]


async def test_progress_forgives_deaths_and_a_suspect_keeps_its_own(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=3)
    [claim] = await stage.claims(batch_id, [0, 3])
    for _ in range(2):
        await stage.board.void_claims(None)
        again = await stage.board.claim(claim.id, await stage.worker())
    assert again is not None
    assert again.deaths == 2
    await stage.log.flush([flush_of(again, [0])])
    await stage.board.void_claims(None)
    once = await stage.board.claim(claim.id, await stage.worker())
    assert once is not None
    assert (once.deaths, once.suspect) == (1, False)


async def test_a_batch_says_why_it_waits_until_it_moves(stage: Stage) -> None:
    batch_id, other = await stage.running_batch(lines=3), await stage.running_batch(lines=3)
    await stage.board.explain({batch_id: "waiting for a worker", other: None})
    waiting = {batch.batch_id: batch.waiting for batch in await stage.board.open_batches()}
    assert waiting == {batch_id: "waiting for a worker", other: None}
    await stage.cancel(batch_id)
    [batch] = await stage.board.open_batches([batch_id])
    assert (batch.waiting, batch.phase) == (None, "stopping")
    assert batch.stop_in is not None
    assert 0 < batch.stop_in <= 30


async def test_a_former_leader_explains_nothing(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=3)
    former = await stage.board.take_leadership("lead", None)
    assert former is not None
    await stage.board.explain({batch_id: "disk below floor"}, former)
    heir = await stage.board.take_leadership("lead", (former.token, 0))
    with pytest.raises(LeadershipLost):
        await stage.board.explain({batch_id: None}, former)
    [batch] = await stage.board.open_batches()
    assert batch.waiting == "disk below floor"
    await stage.board.explain({batch_id: None}, heir)
    [batch] = await stage.board.open_batches()
    assert batch.waiting is None


async def test_many_who_explain_and_leave_at_once_do_not_deadlock(stage: Stage) -> None:
    batches = [await stage.running_batch(lines=8) for _ in range(6)]
    workers = [await stage.worker() for _ in range(6)]
    for batch_id, worker in zip(batches, workers, strict=True):
        await stage.claims(batch_id, [0, 2, 4, 6, 8], worker)
    calls = []
    for n in range(6):
        order = batches[n:] + batches[:n]
        calls += [
            stage.board.explain({batch_id: f"reason {n}" for batch_id in order}),
            stage.board.leave(workers[n]),
            stage.board.void_claims(workers),
            stage.finalize(batches[n]),
        ]
    await asyncio.gather(*calls)
    assert {batch.phase for batch in await stage.board.open_batches()} == {"finalizing"}


async def test_an_input_is_held_until_no_open_batch_reads_it(stage: Stage) -> None:
    batch_id = await stage.new_batch(file_id="file-7")
    assert await stage.board.holds_input("file-7")
    assert not await stage.board.holds_input("file-8")
    await stage.complete(batch_id, None)
    assert not await stage.board.holds_input("file-7")


async def test_open_batches_come_with_the_nearest_deadline_first(stage: Stage) -> None:
    late, soon = await stage.new_batch(window=86_400), await stage.new_batch(window=5)
    assert [batch.batch_id for batch in await stage.board.open_batches()] == [soon, late]


async def test_free_chunks_of_a_batch_that_stops_take_no_place_among_those_that_may_be_claimed(
    stage: Stage,
) -> None:
    stopping, running = await stage.running_batch(lines=2), await stage.running_batch(lines=1)
    leader = await stage.lead()
    for batch_id in (stopping, stopping, running):
        [batch] = await stage.board.open_batches([batch_id])
        await hand_out_one(stage.board, leader, batch, 1)
    await stage.cancel(stopping)
    assert [work.batch_id for work in await stage.board.free_claims(2)] == [running]
