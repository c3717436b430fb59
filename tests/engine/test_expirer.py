"""What has a time of its own ends when that is over, by event."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from engine.expirer import Expirer
from events.errors import LeadershipLost
from events.event import NewEvent
from events.log import Leadership
from events.upload import Upload
from tests.engine.recorded import PROJECT, World, world_on
from tests.postgres import Database


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


async def status(world: World, upload_id: str) -> str:
    seen = await world.models.find(Upload, upload_id)
    assert seen is not None
    assert seen.hidden == (seen.state.status != "pending")
    return seen.state.status


async def test_an_upload_expires_when_its_time_is_over(world: World) -> None:
    overdue, other = await world.upload(b"x", lifetime=0), await world.upload(b"x")

    await Expirer(world.journal).look(world.leadership)

    assert await status(world, overdue) == "expired"
    assert await status(world, other) == "pending"
    (_, _, last) = await world.log.stream(overdue)
    assert (last.type, last.metadata) == ("UploadExpired", '{"actor":"expirer"}')


async def test_one_that_only_a_newer_program_can_read_holds_up_no_other(world: World) -> None:
    parked, overdue = await world.upload(lifetime=0), await world.upload(lifetime=0)
    await world.log.append([NewEvent(uuid4(), parked, PROJECT, "UploadPaused", "{}")])

    await Expirer(world.journal).look(world.leadership)

    assert await status(world, overdue) == "expired"
    assert await status(world, parked) == "pending"


async def test_who_does_not_lead_expires_nothing(world: World) -> None:
    upload_id = await world.upload(lifetime=0)

    with pytest.raises(LeadershipLost):
        await Expirer(world.journal).look(Leadership(world.leadership.name, uuid4()))

    assert await status(world, upload_id) == "pending"
