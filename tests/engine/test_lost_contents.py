"""Contents that storage lost are found, and made again where the log can tell them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.finalizer import Finalizer
from engine.lost_contents import Lost, LostContents, NotMadeAgain
from events.errors import BatchmillError
from storage.store import ObjectMissing
from tests.engine.recorded import RecordedBatch, World, request_line, world_on
from tests.postgres import Database

FAR = datetime(9999, 1, 1, tzinfo=UTC)


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


def contents_of(world: World) -> LostContents:
    return LostContents(world.log, world.models, world.board, world.store)


async def found(world: World) -> list[Lost]:
    return [lost async for lost in contents_of(world).find()]


async def ended(world: World, *, failed: int = 0, unrun: int = 0) -> RecordedBatch:
    """A batch of four lines with both of its files, where some failed, or were never run."""
    batch = await world.batch([request_line(n) for n in range(4)])
    await batch.record_lines(range(4 - failed - unrun))
    if failed:
        await batch.record_lines(range(4 - failed, 4), 400)
    if unrun:
        await batch.cancel()
    assert await Finalizer(world.journal, world.store, world.options).finalize(batch.id)
    return batch


async def lose(world: World, file_id: str | None) -> None:
    assert file_id is not None
    await world.store.delete(await world.object_of(file_id))


def cut(world: World, key: str) -> None:
    """Takes the last byte off an object."""
    path = Path(world.options.spill_folder) / key
    path.write_bytes(path.read_bytes()[:-1])


async def test_nothing_is_lost_of_what_is_there_or_was_deleted(world: World) -> None:
    await ended(world, failed=1)
    await world.upload(b"one", b"two")
    await world.file(b"")
    gone = await world.file(b"x\n")
    await world.delete_file(gone)
    await lose(world, gone)
    assert await found(world) == []


async def test_result_files_are_made_again_under_their_keys_byte_for_byte(world: World) -> None:
    state = await (await ended(world, failed=1)).state()
    files = {id: await world.content(id) for id in (state.output_file_id, state.error_file_id)}
    assert all(files.values())
    for id in files:
        await lose(world, id)

    lost = await found(world)

    assert {(one.kind, one.id) for one in lost} == {("result", id) for id in files}
    for one in lost:
        await contents_of(world).make_again(one)
    assert {id: await world.content(id) for id in files} == files
    assert await found(world) == []


async def test_a_file_that_was_cut_is_made_again(world: World) -> None:
    state = await (await ended(world)).state()
    before = await world.content(state.output_file_id)
    cut(world, await world.object_of(state.output_file_id or ""))
    [lost] = await found(world)
    await contents_of(world).make_again(lost)
    assert await world.content(state.output_file_id) == before


async def test_lines_that_never_ran_are_made_again_from_the_input_alone(world: World) -> None:
    batch = await ended(world, unrun=2)
    state = await batch.state()
    errors = await world.content(state.error_file_id)
    await lose(world, state.error_file_id)
    [lost] = await found(world)
    await contents_of(world).make_again(lost)
    assert await world.content(state.error_file_id) == errors

    await lose(world, state.error_file_id)
    await lose(world, batch.input_file_id)
    of_client, of_batch = sorted(await found(world), key=lambda lost: lost.kind)
    assert (of_client.kind, of_client.id) == ("file", batch.input_file_id)
    with pytest.raises(NotMadeAgain, match="in storage alone"):
        await contents_of(world).make_again(of_client)
    with pytest.raises((BatchmillError, ObjectMissing)):
        await contents_of(world).make_again(of_batch)
    assert len(await found(world)) == 2


async def test_other_bytes_than_were_recorded_take_no_files_place(world: World) -> None:
    state = await (await ended(world)).state()
    await lose(world, state.output_file_id)
    [lost] = await found(world)
    other = await ended(world, failed=2)
    with pytest.raises(NotMadeAgain, match="gives other bytes"):
        await contents_of(world).make_again(
            Lost("result", lost.id, lost.project_id, lost.storage_key, lost.size, other.id)
        )
    assert [one.id for one in await found(world)] == [lost.id]


async def test_what_was_deleted_meanwhile_is_not_left_behind(world: World) -> None:
    state = await (await ended(world)).state()
    assert state.output_file_id is not None
    await lose(world, state.output_file_id)
    [lost] = await found(world)
    await world.delete_file(state.output_file_id)
    await contents_of(world).make_again(lost)
    with pytest.raises(ObjectMissing):
        await world.store.read(lost.storage_key, 0, 1)


async def test_an_input_that_an_open_batch_reads_is_missed_though_it_is_deleted(world: World) -> None:
    batch = await world.batch([request_line(0)])
    await world.delete_file(batch.input_file_id)
    assert await found(world) == []
    await lose(world, batch.input_file_id)
    [lost] = await found(world)
    assert (lost.kind, lost.id, lost.batch_id) == ("file", batch.input_file_id, batch.id)


async def test_each_part_of_an_upload_under_way_is_looked_for(world: World) -> None:
    upload_id = await world.upload(b"one", b"two")
    objects = [info.key async for info in world.store.list(older_than=FAR)]
    await world.store.delete(objects[0])
    [lost] = await found(world)
    assert (lost.kind, lost.id, lost.storage_key, lost.size) == ("part", upload_id, objects[0], 3)
