"""Nobody waits for ever for an input that is gone from storage."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from engine.finalizer import Finalizer
from engine.lost_input import LostInputs
from engine.planner import Planner
from events.inputs.planning import InputChanged
from storage.store import ObjectMissing
from tests.engine.recorded import World, request_line, world_on
from tests.postgres import Database

CANCELLED = "This request was not executed because the batch was cancelled."


class Line(msgspec.Struct):
    """What a client reads of a result line."""

    id: str
    custom_id: str | None
    error: dict[str, str] | None


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


def finalizer_of(world: World, patience: float) -> Finalizer:
    return Finalizer(world.journal, world.store, world.options, lost=LostInputs(patience))


async def anything() -> None:
    """No upstream lists its models."""
    return None


def requests(count: int) -> list[bytes]:
    return [request_line(n) for n in range(count)]


def lines_of(content: bytes) -> list[Line]:
    return [msgspec.json.decode(line, type=Line) for line in content.splitlines()]


async def test_a_batch_whose_input_is_lost_before_it_started_waits_and_then_fails_and_says_so(
    world: World,
) -> None:
    batch = await world.created(requests(3))
    await world.store.delete(await world.object_of(batch.input_file_id))
    for patience in (900.0, 0.0):
        assert len(await world.board.open_batches([batch.id])) == 1
        planner = Planner(world.journal, world.store, anything, world.options, LostInputs(patience))
        if patience:
            with pytest.raises(ObjectMissing):
                await planner.plan(await planner.read(batch.id))
        else:
            await planner.plan(await planner.read(batch.id))
    state = await batch.state()
    assert state.status == "failed"
    [error] = state.errors
    assert (error.code, error.param, error.line) == ("input_lost", "file_id", None)
    assert batch.input_file_id in error.message
    assert await world.board.open_batches([batch.id]) == []


async def test_a_batch_whose_input_is_lost_for_good_ends_with_what_was_recorded(world: World) -> None:
    batch = await world.batch(requests(4))
    await batch.record_lines([1])
    await batch.cancel()
    await world.store.delete(await world.object_of(batch.input_file_id))

    with pytest.raises(InputChanged, match="gone from storage"):
        await finalizer_of(world, patience=900.0).finalize(batch.id)
    assert await finalizer_of(world, patience=0.0).finalize(batch.id)

    ended = await batch.state()
    assert (ended.status, ended.completed) == ("cancelled", 1)
    assert len(lines_of(await world.content(ended.output_file_id))) == 1
    lines = lines_of(await world.content(ended.error_file_id))
    assert [(line.custom_id, line.error and line.error["code"]) for line in lines] == [
        (None, "batch_cancelled")
    ] * 3
    assert lines[1].error is not None
    assert lines[1].error["message"] == (
        f"{CANCELLED} Its custom_id is not known: it was request 3 of input file {batch.input_file_id}, "
        "which is lost."
    )
    assert len({line.id for line in lines}) == 3


def test_an_input_is_given_up_when_it_has_been_away_for_long_enough() -> None:
    now = 0.0
    lost = LostInputs(60.0, lambda: now)
    assert not lost.given_up("batch_1")
    now = 59.0
    assert not lost.given_up("batch_1")
    lost.found("batch_1")
    now = 61.0
    assert not lost.given_up("batch_1")
    now = 121.0
    assert lost.given_up("batch_1")
    now = 500.0
    assert not lost.given_up("batch_1")


def test_inputs_that_nobody_asks_for_any_more_are_let_go() -> None:
    now = 0.0
    lost = LostInputs(60.0, lambda: now)
    for now in range(1000):
        lost.given_up(f"batch_{now}")
        lost.given_up("batch_again")
    assert lost.known == 62
    assert lost.given_up("batch_again")
