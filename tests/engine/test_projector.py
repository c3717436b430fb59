"""Read-model rows are moved to the end of their streams, so that a look folds a short tail."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from engine.projector import Projector
from events.batch import Batch, BatchCancelRequested
from events.errors import UnknownEvent
from events.event import NewEvent, RecordedEvent
from events.follower import Follower
from events.shape import SHAPES
from tests.engine.recorded import PROJECT, RecordedBatch, World, request_line, stamped, world_on
from tests.postgres import Database


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


async def folded_to(world: World, stream_id: str) -> int:
    """The version up to which the row of an object is folded."""
    async with world.database.reading() as connection:
        return int(await connection.fetchval("SELECT version FROM read_models WHERE id = $1", stream_id))


async def started(world: World, lines: int) -> RecordedBatch:
    return await world.batch([request_line(n) for n in range(lines)])


async def log_of(world: World) -> list[RecordedEvent]:
    return list(await world.log.read(after=0))


async def test_rows_are_written_at_the_end_of_their_streams(world: World) -> None:
    batch = await started(world, 3)
    await batch.record_lines([0])
    await batch.record_lines([1, 2])
    before = await world.models.get(Batch, batch.id)
    assert await folded_to(world, batch.id) < before.version
    writes = await Projector(world.models)(await log_of(world))
    await world.models.advance(writes, follower="projector", upto=1, leadership=world.leadership)
    assert await folded_to(world, batch.id) == before.version == 4
    assert await world.models.get(Batch, batch.id) == before


async def test_each_object_is_written_once_however_many_its_events(world: World) -> None:
    one, two = await started(world, 3), await started(world, 1)
    for line in range(3):
        await one.record_lines([line])
    writes = await Projector(world.models)(await log_of(world))
    assert sorted(write.id for write in writes) == sorted(
        [one.id, one.input_file_id, two.id, two.input_file_id]
    )


async def test_events_seen_before_move_no_row_back(world: World) -> None:
    batch = await started(world, 2)
    early = await log_of(world)
    await batch.record_lines([0, 1])
    projector = Projector(world.models)
    for events in (await log_of(world), early):
        writes = await projector(events)
        await world.models.advance(writes, follower="projector", upto=1, leadership=world.leadership)
    assert await folded_to(world, batch.id) == 3
    assert (await batch.state()).completed == 2


async def test_a_stream_of_no_known_object_is_passed_over(world: World) -> None:
    batch = await started(world, 1)
    stray = stamped("webhook_1", 1, "WebhookDelivered", "{}")
    unknown = stamped("batch_of_nobody", 1, BatchCancelRequested.__name__, "{}")
    writes = await Projector(world.models)([stray, unknown, *await log_of(world)])
    assert batch.id in [write.id for write in writes]
    assert len(writes) == 2


async def test_its_follower_comes_to_the_end_of_the_log(world: World) -> None:
    batch = await started(world, 1)
    await batch.record_lines([0])
    follower = Follower("projector", world.log, world.models, Projector(world.models))
    while await follower.step(world.leadership):
        pass
    assert await folded_to(world, batch.id) == 3
    assert await world.models.checkpoint("projector") == len(await log_of(world))


async def test_a_stream_that_a_newer_program_wrote_is_parked_and_the_others_go_on(world: World) -> None:
    other, parked = await started(world, 1), await started(world, 1)
    await world.log.append([NewEvent(uuid4(), parked.id, PROJECT, "BatchPaused", "{}")])
    await other.record_lines([0])
    writes = await Projector(world.models)(await log_of(world))
    await world.models.advance(writes, follower="projector", upto=1, leadership=world.leadership)
    assert await folded_to(world, other.id) == 3
    assert "BatchPaused" in str((await world.models.get(Batch, parked.id)).parked)
    assert (await parked.state()).status == "in_progress"


async def test_a_row_of_another_program_is_left_as_it_is_and_the_others_go_on(world: World) -> None:
    other, strange = await started(world, 1), await started(world, 1)
    async with world.database.writing() as connection:
        await connection.execute(
            "UPDATE read_models SET version = 1, state = $1 WHERE id = $2",
            f'{{"shape":[{SHAPES[Batch].number},0],"sublimated":true}}',
            strange.id,
        )
    with pytest.raises(UnknownEvent, match=strange.id):
        await world.models.get(Batch, strange.id)
    writes = await Projector(world.models)(await log_of(world))
    assert other.id in [write.id for write in writes]
    assert strange.id not in [write.id for write in writes]
