"""A batch is planned once, whoever plans it and whatever happens meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest

from engine.desk import Desk
from engine.finalizer import Finalizer
from engine.planner import INLINE_BYTES, KnownModels, Planner
from events.batch import BLOCKS_PER_GROUP, Batch, BatchCreated, BatchFailed, BatchStarted
from events.catalog import new_event
from events.inputs.input_lines import InputLines
from events.inputs.line_index import LINES_PER_BLOCK
from events.inputs.planning import BYTES_PER_TOKEN
from events.journal import Decision
from events.limits import Limits, ProjectLimits
from events.log import Board, Row
from storage.store import ObjectMissing
from tests.engine.recorded import ENDPOINT, PROJECT, RecordedBatch, World, request_line, world_on
from tests.postgres import Database


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


async def anything() -> None:
    """No upstream lists its models."""
    return None


def planner_of(world: World, known_models: KnownModels = anything) -> Planner:
    return Planner(world.journal, world.store, known_models, world.options)


async def plan(planner: Planner, batch_id: str) -> None:
    """Plans a batch as it is now."""
    await planner.plan(await planner.read(batch_id))


def requests(count: int) -> list[bytes]:
    return [request_line(n) for n in range(count)]


async def history(world: World, batch: RecordedBatch) -> list[str]:
    """The types of everything recorded of the batch."""
    return [event.type for event in await world.log.read(after=0) if event.stream_id == batch.id]


async def phase(world: World, batch: RecordedBatch) -> str | None:
    """Where the batch stands on the work board; None where it is not on it."""
    found = await world.board.open_batches([batch.id])
    return found[0].phase if found else None


async def test_a_valid_input_starts_its_batch(world: World) -> None:
    batch = await world.created(requests(3))
    await plan(planner_of(world), batch.id)
    state = await batch.state()
    assert (state.status, state.total, state.model) == ("in_progress", 3, "m")
    (on_board,) = await world.board.open_batches([batch.id])
    assert (on_board.phase, on_board.total, on_board.model, on_board.next_line) == ("running", 3, "m", 0)


async def test_the_lines_of_a_started_batch_are_found_again(world: World) -> None:
    lines = requests(2 * LINES_PER_BLOCK + 3)
    batch = await world.created(lines)
    await plan(planner_of(world), batch.id)
    wanted = [0, LINES_PER_BLOCK - 1, LINES_PER_BLOCK, 2 * LINES_PER_BLOCK + 2]
    assert await read_again(world, batch, wanted) == {ordinal: lines[ordinal] for ordinal in wanted}


async def test_the_index_of_a_large_input_is_recorded_in_groups(world: World) -> None:
    group = BLOCKS_PER_GROUP * LINES_PER_BLOCK
    lines = requests(group + 1)
    batch = await world.created(lines)
    options = msgspec.structs.replace(world.options, max_batch_lines=len(lines))
    planners = [Planner(world.journal, world.store, anything, options) for _ in range(2)]
    await asyncio.gather(*(plan(planner, batch.id) for planner in planners))
    assert await history(world, batch) == ["BatchCreated", "LinesIndexed", "BatchStarted"]
    assert (await batch.state()).total == group + 1
    wanted = [0, group - 1, group]
    assert await read_again(world, batch, wanted) == {ordinal: lines[ordinal] for ordinal in wanted}


async def read_again(world: World, batch: RecordedBatch, ordinals: list[int]) -> Mapping[int, bytes]:
    inputs = InputLines(world.log, world.store, batch.id, (await batch.state()).created)
    return {found.line: found.raw async for found in inputs.lines(ordinals)}


async def test_an_invalid_input_fails_its_batch_with_the_reasons(world: World) -> None:
    batch = await world.created([request_line(0), b"no JSON", request_line(0)])
    await plan(planner_of(world), batch.id)
    state = await batch.state()
    assert (state.status, state.total) == ("failed", 0)
    assert [(error.code, error.line) for error in state.errors] == [
        ("invalid_json_line", 2),
        ("duplicate_custom_id", 3),
    ]
    assert await phase(world, batch) is None


async def test_planning_again_changes_nothing(world: World) -> None:
    good, bad = await world.created(requests(2)), await world.created([b"{}"])
    for _ in range(3):
        await plan(planner_of(world), good.id)
        await plan(planner_of(world), bad.id)
    assert await history(world, good) == ["BatchCreated", BatchStarted.__name__]
    assert await history(world, bad) == ["BatchCreated", BatchFailed.__name__]


async def test_of_several_planners_of_one_batch_one_is_recorded(world: World) -> None:
    batch = await world.created(requests(500))
    await asyncio.gather(*(plan(planner_of(world), batch.id) for _ in range(4)))
    assert await history(world, batch) == ["BatchCreated", BatchStarted.__name__]
    assert len(await read_again(world, batch, list(range(500)))) == 500


async def test_a_batch_cancelled_while_it_is_planned_stays_cancelled(world: World) -> None:
    batch = await world.created(requests(3))

    async def cancelled_meanwhile() -> None:
        await batch.cancel_while_validating()

    await plan(planner_of(world, cancelled_meanwhile), batch.id)
    state = await batch.state()
    assert (state.status, state.total, state.in_progress_at) == ("cancelled", 0, None)
    assert await phase(world, batch) is None


@pytest.mark.parametrize("lines", [3, INLINE_BYTES // len(request_line(0))], ids=["small", "large"])
async def test_a_custom_id_that_came_before_is_found_however_large_the_input(
    world: World, lines: int
) -> None:
    batch = await world.created([*requests(lines), request_line(1)])
    planner = planner_of(world)
    assert planner.plans_at_once(await planner.read(batch.id)) is (lines == 3)
    await plan(planner, batch.id)
    (error,) = (await batch.state()).errors
    assert (error.code, error.line) == ("duplicate_custom_id", lines + 1)


async def test_a_file_that_was_not_there_fails_the_batch(world: World) -> None:
    created = BatchCreated("file-none", ENDPOINT, "24h", 86_400, None)
    await world.journal.record(
        Decision(
            [new_event("batch_1", PROJECT, created)],
            [Row("batch", "batch_1", PROJECT)],
            Board("batch_1", PROJECT, "planning", expires_within=86_400),
        )
    )
    await plan(planner_of(world), "batch_1")
    (error,) = (await world.models.get(Batch, "batch_1")).state.errors
    assert (error.code, error.param, error.line) == ("invalid_request", "file_id", None)
    assert error.message == ("Cannot find file file-none, or organization proj_1 does not have access to it.")


async def test_a_batch_that_is_larger_than_the_whole_queue_of_its_project_fails(world: World) -> None:
    async def errors(**limits: int) -> list[tuple[str, str | None, int | None]]:
        own = ProjectLimits(Limits(), {PROJECT: Limits(**limits)})
        world.options = msgspec.structs.replace(world.options, limits=own)
        batch = await world.created(requests(3))
        await plan(planner_of(world), batch.id)
        assert await world.board.open_batches([batch.id]) == []
        return [(error.code, error.param, error.line) for error in (await batch.state()).errors]

    assert await errors(queued_lines=2) == [("too_many_tasks", None, None)]
    assert await errors(queued_tokens=3) == [("token_limit_exceeded", None, None)]


async def test_what_is_queued_is_estimated_when_a_batch_starts(world: World) -> None:
    batch = await world.created(requests(3))
    await plan(planner_of(world), batch.id)
    tokens = sum(-(-len(line) // BYTES_PER_TOKEN) for line in requests(3))
    assert (await batch.state()).estimated_tokens == tokens
    (on_board,) = await world.board.open_batches([batch.id])
    assert (on_board.estimated_tokens, on_board.tokens_left) == (tokens, tokens)


async def test_an_input_that_storage_has_lost_leaves_the_batch_validating_with_the_reason(
    world: World,
) -> None:
    batch = await world.created(requests(3))
    await world.store.delete(await world.object_of(batch.input_file_id))
    planner = planner_of(world)
    with pytest.raises(ObjectMissing):
        await plan(planner, batch.id)
    desk = Desk(
        world.board,
        world.journal.bus,
        planner,
        Finalizer(world.journal, world.store, world.options),
        world.options,
    )
    await desk.look(batch.id)
    (on_board,) = await world.board.open_batches([batch.id])
    assert on_board.phase == "planning"
    assert on_board.waiting is not None
    assert on_board.waiting.startswith("tries again soon: ")
    assert (await batch.state()).status == "validating"


async def test_a_batch_that_was_put_off_is_planned_when_its_input_is_back(
    world: World, tmp_path: Path
) -> None:
    batch = await world.created(requests(3))
    path = tmp_path / "objects" / await world.object_of(batch.input_file_id)
    aside = path.rename(path.with_suffix(".aside"))
    planner = planner_of(world)
    with pytest.raises(ObjectMissing):
        await plan(planner, batch.id)
    aside.rename(path)
    await plan(planner, batch.id)
    assert (await batch.state()).status == "in_progress"


async def test_a_model_that_the_upstream_lacks_is_not_found(world: World) -> None:
    async def others() -> frozenset[str]:
        return frozenset({"small", "large"})

    batch = await world.created(requests(2))
    await plan(planner_of(world, others), batch.id)
    assert [(error.code, error.param, error.line) for error in (await batch.state()).errors] == [
        ("model_not_found", "body.model", 1),
        ("model_not_found", "body.model", 2),
    ]


async def test_a_model_that_the_upstream_lists_is_found(world: World) -> None:
    async def listed() -> frozenset[str]:
        return frozenset({"m"})

    batch = await world.created(requests(2))
    await plan(planner_of(world, listed), batch.id)
    assert (await batch.state()).status == "in_progress"


async def test_while_no_list_of_models_can_be_had_any_model_will_do(world: World) -> None:
    batch = await world.created(requests(2))
    await plan(planner_of(world, anything), batch.id)
    assert (await batch.state()).status == "in_progress"
