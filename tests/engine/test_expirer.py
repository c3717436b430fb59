"""What has a time of its own ends when that is over, by an event; batches that read a file go on."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from engine.eraser import Eraser
from engine.expirer import Expirer
from engine.finalizer import Finalizer
from engine.projector import Projector
from events.errors import LeadershipLost, NotFound
from events.event import NewEvent
from events.file import File
from events.follower import Follower
from events.log import Leadership
from events.origin import PROCESS, Origin
from events.rebuild import rebuild
from events.upload import Upload
from storage.store import ObjectMissing
from tests.engine.recorded import PROJECT, World, request_line, world_on
from tests.events.stage import attachment_of
from tests.postgres import Database

OVER = 0
"""Seconds of a file that is due as soon as it is there."""


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


async def project(world: World) -> None:
    """Moves all rows forward."""
    follower = Follower("projector", world.log, world.models, Projector(world.models))
    while await follower.step(None):
        pass


async def erase(world: World) -> None:
    eraser = Eraser(world.log, world.models, world.board, world.store)
    follower = Follower("eraser", world.log, world.models, eraser.handle)
    while await follower.step(None):
        pass


async def expire(world: World) -> int:
    await project(world)
    return await Expirer(world.journal).look(world.leadership)


async def status(world: World, upload_id: str) -> str:
    seen = await world.models.find(Upload, upload_id)
    assert seen is not None
    assert seen.hidden == (seen.state.status != "pending")
    return seen.state.status


async def types(world: World, file_id: str) -> list[str]:
    return [event.type for event in await world.log.stream(file_id)]


async def test_a_file_whose_time_is_over_is_gone_by_an_event(world: World) -> None:
    due = await world.file(b"x", expires_after=OVER)
    later, never = await world.file(b"y", expires_after=3600), await world.file(b"z")

    assert await expire(world) == 1

    assert await types(world, due) == ["FileCreated", "FileExpired"]
    with pytest.raises(NotFound):
        await world.models.get(File, due, PROJECT)
    assert {seen.id for seen in (await world.models.page(File, PROJECT)).objects} == {later, never}
    assert await expire(world) == 0


@pytest.mark.parametrize("name", ["\x00", 'a","expires_at":9999999999,"', "\\", '\\","expires_at":1,"'])
async def test_no_file_name_keeps_a_file_alive_or_ends_it(world: World, name: str) -> None:
    due = await world.file(b"x", expires_after=OVER, name=name)
    later, never = await world.file(b"y", expires_after=3600, name=name), await world.file(b"z", name=name)

    assert await expire(world) == 1

    assert (await types(world, due))[-1] == "FileExpired"
    assert [seen.id for seen in (await world.models.page(File, PROJECT)).objects] == [never, later]


async def test_a_file_that_was_deleted_does_not_expire(world: World) -> None:
    file_id = await world.file(b"x", expires_after=OVER)
    await project(world)
    await world.delete_file(file_id)

    assert await expire(world) == 0

    assert await types(world, file_id) == ["FileCreated", "FileDeleted"]


async def test_a_file_deleted_after_it_was_found_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = await world.file(b"x", expires_after=OVER)
    await world.delete_file(file_id)

    async def found(kind: object, limit: int) -> list[str]:
        return [file_id] if kind is File else []

    monkeypatch.setattr(world.models, "overdue", found)
    assert await expire(world) == 0
    assert await types(world, file_id) == ["FileCreated", "FileDeleted"]


async def test_a_parked_file_is_left_to_a_program_that_knows_more(world: World) -> None:
    file_id = await world.file(b"x", expires_after=OVER)
    other = await world.file(b"y", expires_after=OVER)
    await world.log.append([NewEvent(uuid4(), file_id, PROJECT, "FileMoved", "{}")])

    assert await expire(world) == 1

    assert await types(world, file_id) == ["FileCreated", "FileMoved"]
    assert (await types(world, other))[-1] == "FileExpired"


async def test_an_upload_expires_when_its_time_is_over(world: World) -> None:
    overdue, other = await world.upload(b"x", lifetime=OVER), await world.upload(b"x")

    assert await expire(world) == 1

    assert await status(world, overdue) == "expired"
    assert await status(world, other) == "pending"
    (_, _, last) = await world.log.stream(overdue)
    assert (last.type, Origin.of(last.metadata)) == ("UploadExpired", Origin("expirer", process=PROCESS))


async def test_one_that_only_a_newer_program_can_read_holds_up_no_other(world: World) -> None:
    parked, overdue = await world.upload(lifetime=OVER), await world.upload(lifetime=OVER)
    await project(world)
    await world.log.append([NewEvent(uuid4(), parked, PROJECT, "UploadPaused", "{}")])

    assert await Expirer(world.journal).look(world.leadership) == 1

    assert await status(world, overdue) == "expired"
    assert await status(world, parked) == "pending"


async def test_who_does_not_lead_expires_nothing(world: World) -> None:
    file_id, upload_id = await world.file(b"x", expires_after=OVER), await world.upload(lifetime=OVER)
    await project(world)

    with pytest.raises(LeadershipLost):
        await Expirer(world.journal).look(Leadership(world.leadership.name, uuid4()))

    assert await types(world, file_id) == ["FileCreated"]
    assert await status(world, upload_id) == "pending"


async def test_a_batch_goes_on_when_its_input_expires(world: World) -> None:
    file_id = await world.file(b"".join(request_line(n) + b"\n" for n in range(2)), expires_after=OVER)
    batch = await world.batch([request_line(0), request_line(1)], input_file_id=file_id)

    assert await expire(world) == 1
    await erase(world)
    await batch.record_lines([0])
    await batch.cancel()
    assert await Finalizer(world.journal, world.store, world.options).finalize(batch.id)

    ended = await batch.state()
    assert b'"custom_id":"line-0"' in await world.content(ended.output_file_id)
    assert b'"custom_id":"line-1"' in await world.content(ended.error_file_id)
    assert await world.store.read(await world.object_of(file_id), 0, 1)
    await erase(world)
    with pytest.raises(ObjectMissing):
        await world.store.read(await world.object_of(file_id), 0, 1)


async def test_result_lines_go_with_an_output_file_that_expires(world: World) -> None:
    batch = await world.batch([request_line(0)], expires_after=OVER)
    await batch.record_lines([0])
    assert await Finalizer(world.journal, world.store, world.options).finalize(batch.id)

    assert await expire(world) == 1
    await erase(world)

    [(_, event_id, _)] = await world.log.facts(batch.id)
    assert await attachment_of(world.database, event_id) is None


async def test_what_is_due_is_known_after_a_rebuild(world: World, database: Database) -> None:
    file_id = await world.file(b"x", expires_after=OVER)
    await rebuild(database.app_url)

    assert await Expirer(world.journal).look(world.leadership) == 1

    assert (await types(world, file_id))[-1] == "FileExpired"
