"""Contents go when nobody may read them any more, and not before."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from engine.eraser import Eraser
from engine.finalizer import Finalizer
from events import catalog
from events.errors import UnknownEvent
from events.event import NewEvent
from events.failpoint import FailpointRaised, arm
from events.follower import Follower
from events.journal import Decision
from events.log import Row
from events.upload import Upload, UploadCancelled, UploadCompleted, UploadEvent, UploadExpired
from storage.store import ObjectMissing, StorageUnavailable
from storage.sweep import sweep
from tests.backup import dump, traces
from tests.engine.recorded import PROJECT, RecordedBatch, World, request_line, world_on
from tests.events.stage import attachment_of
from tests.postgres import Database
from tests.storage.bodies import body_of


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm("")


async def erase(world: World) -> None:
    """Follows the log from its start to its end."""
    eraser = Eraser(world.log, world.models, world.board, world.store)
    follower = Follower("eraser", world.log, world.models, eraser.handle)
    while await follower.step(None):
        pass


async def stored(world: World, file_id: str) -> bool:
    try:
        await world.store.read(await world.object_of(file_id), 0, 1)
    except ObjectMissing:
        return False
    return True


async def bodies(batch: RecordedBatch) -> int:
    """How many of its flushes still have their result lines."""
    facts = await batch.world.log.facts(batch.id)
    found = [await attachment_of(batch.world.database, event_id) for _, event_id, _ in facts]
    return len(found) - found.count(None)


async def ended_batch(world: World, statuses: list[int], input_file_id: str | None = None) -> RecordedBatch:
    lines = [request_line(n) for n in range(len(statuses))]
    batch = await world.batch(lines, input_file_id=input_file_id)
    for line, status in enumerate(statuses):
        await batch.record_lines([line], status)
    await finalize(batch)
    return batch


async def finalize(batch: RecordedBatch) -> None:
    world = batch.world
    assert await Finalizer(world.journal, world.store, world.options).finalize(batch.id)


async def test_a_deleted_file_leaves_storage(world: World) -> None:
    file_id, other = await world.file(b"x"), await world.file(b"y")
    await world.delete_file(file_id)

    await erase(world)

    assert not await stored(world, file_id)
    assert await stored(world, other)


async def test_an_input_stays_until_the_last_open_batch_that_reads_it_has_ended(world: World) -> None:
    lines = [request_line(0)]
    first = await world.batch(lines)
    second = await world.created(lines, input_file_id=first.input_file_id)
    await world.delete_file(first.input_file_id)
    await erase(world)
    assert await stored(world, first.input_file_id)

    await first.record_lines([0])
    await finalize(first)
    await erase(world)
    assert await stored(world, first.input_file_id)

    await second.cancel_while_validating()
    await erase(world)
    assert not await stored(world, first.input_file_id)


async def test_an_input_that_was_not_deleted_outlives_its_batch(world: World) -> None:
    batch = await ended_batch(world, [200])

    await erase(world)

    assert await stored(world, batch.input_file_id)


def know_more(program: pytest.MonkeyPatch) -> None:
    """Makes this a newer program."""
    program.setitem(catalog.UPCASTERS, "BatchWithdrawn", lambda plain: ("BatchCancelRequested", plain))
    program.setitem(catalog.UPCASTERS, "FileWithdrawn", lambda plain: ("FileDeleted", plain))


async def test_what_hangs_on_a_parked_object_is_erased_by_the_program_that_knows_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather late than never: a program that cannot tell whether it is to erase waits."""
    batch = await world.batch([request_line(0)])
    await batch.record_lines([0])
    await world.log.append([NewEvent(uuid4(), batch.id, PROJECT, "BatchWithdrawn", "{}")])
    await world.log.append([NewEvent(uuid4(), batch.input_file_id, PROJECT, "FileWithdrawn", "{}")])
    with monkeypatch.context() as newer_program:
        know_more(newer_program)
        await finalize(batch)
        output_id = (await batch.state()).output_file_id
        assert output_id is not None
        await world.delete_file(output_id)
    with pytest.raises(UnknownEvent, match="Withdrawn"):
        await erase(world)
    assert await stored(world, batch.input_file_id)
    assert await bodies(batch) == 1

    know_more(monkeypatch)
    await erase(world)
    assert not await stored(world, batch.input_file_id)
    assert await bodies(batch) == 0


async def test_result_lines_live_as_long_as_the_output_file(world: World) -> None:
    batch = await ended_batch(world, [200, 400])
    ended = await batch.state()
    assert ended.output_file_id
    assert ended.error_file_id

    await world.delete_file(ended.error_file_id)
    await erase(world)
    assert not await stored(world, ended.error_file_id)
    assert await bodies(batch) == 2

    await world.delete_file(ended.output_file_id)
    await erase(world)
    assert not await stored(world, ended.output_file_id)
    assert await bodies(batch) == 0
    assert (await batch.state()).completed == 1


async def test_without_an_output_file_they_live_as_long_as_the_error_file(world: World) -> None:
    batch = await ended_batch(world, [400])
    await world.delete_file((await batch.state()).error_file_id or "")

    await erase(world)

    assert await bodies(batch) == 0


async def parts_left(world: World, upload_id: str) -> int:
    """How many parts of an upload are still stored."""
    upload = await world.models.find(Upload, upload_id)
    assert upload is not None
    left = 0
    for part in upload.state.parts:
        try:
            left += len(await world.store.read(part.storage_key, 0, part.size)) == part.size
        except ObjectMissing:
            continue
    return left


@pytest.mark.parametrize("end", [UploadCompleted("file-1", ()), UploadCancelled(), UploadExpired()])
async def test_the_parts_of_an_upload_live_until_it_has_ended(world: World, end: UploadEvent) -> None:
    ended, pending = await world.upload(b"one", b"two"), await world.upload(b"one", b"two")
    await erase(world)
    assert await parts_left(world, ended) == 2

    hidden = Row("upload", ended, PROJECT, hidden=True)
    await world.journal.record(Decision([catalog.new_event(ended, PROJECT, end)], rows=[hidden]))
    arm("delete.after=raise")
    with pytest.raises(FailpointRaised):
        await erase(world)
    arm("")
    await erase(world)

    assert await parts_left(world, ended) == 0
    assert await parts_left(world, pending) == 2


async def test_the_sweep_knows_the_parts_of_a_pending_upload(world: World) -> None:
    """However old they are; what was stored and never recorded it removes."""
    pending = await world.upload(b"one", b"two")
    orphan = await world.store.put(body_of(b"three"), prefix="parts", project="p")

    assert await sweep(world.store, world.models.named, datetime.now(UTC) + timedelta(hours=1)) == 1

    assert await parts_left(world, pending) == 2
    with pytest.raises(ObjectMissing):
        await world.store.read(orphan.key, 0, 1)


async def test_what_was_interrupted_is_done_when_the_same_events_come_again(world: World) -> None:
    batch = await ended_batch(world, [200])
    output = (await batch.state()).output_file_id or ""
    await world.delete_file(output)
    for point in ("delete.before", "delete.after", "erase.before", "erase.after", "checkpoint.before"):
        arm(f"{point}=raise")
        with pytest.raises(FailpointRaised):
            await erase(world)
    arm("")

    await erase(world)

    assert not await stored(world, output)
    assert await bodies(batch) == 0


async def test_storage_that_is_away_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id = await world.file(b"x")
    await world.delete_file(file_id)
    delete, refused = world.store.delete, iter([StorageUnavailable("away")] * 2)

    async def away_twice(key: str) -> None:
        if (error := next(refused, None)) is not None:
            raise error
        await delete(key)

    monkeypatch.setattr(world.store, "delete", away_twice)
    monkeypatch.setattr("engine.eraser.FIRST_PAUSE", 0.0)

    await erase(world)

    assert not await stored(world, file_id)


async def test_no_text_of_deleted_files_is_left_in_a_dump_or_in_storage(
    world: World, database: Database, tmp_path: Path
) -> None:
    marker = uuid4().hex
    line = request_line(0).replace(b"line-0", marker.encode())
    batch = await world.batch([line, line.replace(b"-0", b"-1")])
    await batch.record_lines([0])
    await batch.cancel()
    assert await Finalizer(world.journal, world.store, world.options).finalize(batch.id)
    state, objects = await batch.state(), tmp_path / "objects"
    assert len(traces(marker, objects)) == 2  # the input, and the line that never ran

    for file_id in (batch.input_file_id, state.output_file_id, state.error_file_id):
        assert file_id is not None
        await world.delete_file(file_id)
    await erase(world)

    await dump(database, tmp_path / "dump", plain=True)
    assert batch.id.encode() in (tmp_path / "dump").read_bytes()
    assert await bodies(batch) == 0
    assert traces(marker, objects, tmp_path / "dump") == []
