"""A batch that has no room in its project's queue waits, says so, and begins when its turn comes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from engine.admission import TELL_AGAIN, Admission
from engine.dispatcher import Dispatcher
from engine.finalizer import Finalizer
from engine.routes import Route
from events.batch import StartBatch
from events.errors import LeadershipLost
from events.limits import Limits, ProjectLimits
from events.log import Board
from events.rebuild_board import rebuild_board
from events.work import OpenBatch
from tests.engine.recorded import PROJECT, WORKER, RecordedBatch, World, request_line, world_on
from tests.postgres import Database

ROUTE: Final = Route("default", "http://upstream/v1")
TEN_LINES: Final = ProjectLimits(Limits(queued_lines=10))


class OpenRoute:
    reason: str | None = None


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


def finalizer_of(world: World) -> Finalizer:
    return Finalizer(world.journal, world.store, world.options)


def leader_of(world: World, limits: ProjectLimits = TEN_LINES) -> Dispatcher:
    options = msgspec.structs.replace(world.options, free_space_floor=0, limits=limits)
    return Dispatcher(world.journal, world.board, world.store, [(ROUTE, OpenRoute())], options)


async def planned(world: World, lines: int, tokens: int = 0) -> RecordedBatch:
    """A valid batch, of which nothing is handed out yet."""
    batch = await world.created([request_line(n) for n in range(lines)])
    board = Board(batch.id, PROJECT, "running", model="m", total=lines, estimated_tokens=tokens)
    await batch.command(StartBatch(lines, "m", tokens), board)
    return batch


async def on_board(batch: RecordedBatch) -> OpenBatch:
    (found,) = await batch.world.board.open_batches([batch.id])
    return found


async def begun(*batches: RecordedBatch) -> list[bool]:
    return [(await on_board(batch)).next_line > 0 for batch in batches]


async def run_handed_out(batch: RecordedBatch) -> None:
    """A worker takes what lies free of a batch, and records an outcome of every line of it."""
    for work in await batch.world.board.free_claims(1000):
        if work.batch_id == batch.id:
            batch.claim = await batch.world.board.claim(work.claim_id, WORKER)
            assert batch.claim is not None
            assert await batch.record_lines(batch.claim.open_lines()) == "recorded"


async def finish(leader: Dispatcher, batch: RecordedBatch) -> None:
    """Hands out and runs a batch to its last line."""
    while (await on_board(batch)).lines_left:
        await run_handed_out(batch)
        await leader.look_at_everything(batch.world.leadership)


async def test_batches_begin_in_order_as_there_is_room(world: World) -> None:
    first, large, small = await planned(world, 8), await planned(world, 10), await planned(world, 1)
    leader = leader_of(world)
    await leader.look_at_everything(world.leadership)

    assert await begun(first, large, small) == [True, False, False]
    assert (await on_board(large)).waiting == (
        f"waiting for room: with it 18 of 10 queued lines in project {PROJECT}"
    )
    assert (await on_board(small)).waiting == (
        f"waiting for room: behind earlier batches of project {PROJECT}"
    )

    await finish(leader, first)
    assert await begun(large, small) == [True, False]
    assert (await on_board(large)).waiting is None
    await finish(leader, large)
    assert await begun(small) == [True]


async def test_tokens_take_room_as_lines_do(world: World) -> None:
    first, second = await planned(world, 2, tokens=60), await planned(world, 2, tokens=60)
    leader = leader_of(world, ProjectLimits(Limits(queued_tokens=100)))
    await leader.look_at_everything(world.leadership)

    assert await begun(first, second) == [True, False]
    assert "with it 120 of 100 queued tokens" in ((await on_board(second)).waiting or "")
    await run_handed_out(first)
    await leader.look_at_everything(world.leadership)
    assert await begun(second) == [True]


async def test_a_batch_cancelled_while_it_waits_ends_and_holds_up_nobody(world: World) -> None:
    _, waits, last = await planned(world, 8), await planned(world, 10), await planned(world, 2)
    leader = leader_of(world)
    await leader.look_at_everything(world.leadership)
    await waits.cancel()
    await leader.look_at_everything(world.leadership)
    assert await begun(last) == [True]

    assert (await on_board(waits)).needs_a_hand
    await finalizer_of(world).finalize(waits.id)
    state = await waits.state()
    assert (state.status, state.completed, state.failed) == ("cancelled", 0, 0)
    assert (await world.content(state.error_file_id)).count(b'"batch_cancelled"') == 10


async def test_a_batch_whose_time_is_over_while_it_waits_expires_with_all_its_lines(world: World) -> None:
    _, waits = await planned(world, 8), await planned(world, 10)
    leader = leader_of(world)
    await leader.look_at_everything(world.leadership)
    async with world.database.writing() as connection:
        await connection.execute(
            "UPDATE batch_work SET expires_at = clock_timestamp() WHERE batch_id = $1", waits.id
        )
    await leader.look_at_everything(world.leadership)

    await finalizer_of(world).finalize(waits.id)
    state = await waits.state()
    assert state.status == "expired"
    assert (await world.content(state.error_file_id)).count(b'"batch_expired"') == 10


async def test_a_new_leader_and_a_rebuilt_board_let_in_nobody_else(world: World, database: Database) -> None:
    first, waits, last = await planned(world, 8, 80), await planned(world, 10, 90), await planned(world, 1, 5)
    await leader_of(world).look_at_everything(world.leadership)
    (work, *_) = [work for work in await world.board.free_claims(9) if work.batch_id == first.id]
    first.claim = await world.board.claim(work.claim_id, WORKER)
    assert first.claim is not None
    await first.record_lines(first.claim.open_lines()[:1])
    before = await world.board.open_batches_of(PROJECT)
    await rebuild_board(database.app_url)

    after = await world.board.open_batches_of(PROJECT)
    assert [(b.batch_id, b.estimated_tokens, b.lines_left) for b in after] == [
        (b.batch_id, b.estimated_tokens, b.lines_left) for b in before
    ]
    leader = leader_of(world)
    await leader.look_at_everything(world.leadership)
    assert await begun(first, waits, last) == [True, False, False]
    await finish(leader, first)
    assert await begun(waits, last) == [True, False]


async def test_a_leader_that_was_replaced_lets_in_nobody(world: World) -> None:
    waits, replaced = await planned(world, 10), world.leadership
    assert await world.board.take_leadership(replaced.name, await world.board.observe(replaced.name))
    with pytest.raises(LeadershipLost):
        await leader_of(world).look_at_everything(replaced)
    assert await begun(waits) == [False]


async def test_each_project_has_a_queue_of_its_own(world: World) -> None:
    _, waits = await planned(world, 8), await planned(world, 10)
    await leader_of(world, ProjectLimits(Limits(), {"other": Limits(queued_lines=1)})).look_at_everything(
        world.leadership
    )
    assert await begun(waits) == [True]


def queued(batch_id: str, lines: int, *, next_line: int = 0, waiting: str | None = None) -> OpenBatch:
    return OpenBatch(
        batch_id=batch_id,
        project_id=PROJECT,
        phase="running",
        input_file_id="file-1",
        model="m",
        total=lines,
        next_line=next_line,
        waiting=waiting,
        expires_in=3600.0,
        stop_in=None,
        since=0.0,
        held=0,
        free=0,
        open_lines=0,
    )


def test_a_reason_is_told_again_only_after_a_while() -> None:
    now = [100.0]
    admission = Admission(ProjectLimits(Limits(queued_lines=10)), clock=lambda: now[0])

    def told(lines_left: int, waiting: str | None) -> str:
        batches = [queued("a", lines_left + 1, next_line=1), queued("b", 10, waiting=waiting)]
        return admission.held_up(batches)["b"]

    first = told(9, None)
    assert first == f"waiting for room: with it 19 of 10 queued lines in project {PROJECT}"
    assert told(8, first) == first
    now[0] += TELL_AGAIN
    assert "with it 18 of 10" in told(8, first)
