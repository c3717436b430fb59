"""A replay finds what differs from the log, names it by object and field, and nothing else."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from events.audit.replay import Difference, Replay, Replayed
from events.batch import Batch
from events.catalog import new_event
from events.event import NewEvent
from events.file import FileCreated
from events.log import Row
from storage.local_folder import LocalFolder
from tests.events.stage import PROJECT, Stage, flush_of, open_stage
from tests.events.test_rebuild import project_all, some_history
from tests.postgres import Database


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalFolder]:
    folder = LocalFolder(tmp_path / "files")
    yield folder
    await folder.close()


async def replayed(stage: Stage, until: int | None = None, page: int = 7) -> Replayed:
    return await Replay(stage.database, None, page=page).run(until=until)


async def told(stage: Stage) -> dict[tuple[str, str], tuple[str | None, str | None]]:
    return {(it.object, it.field): (it.replayed, it.live) for it in (await replayed(stage)).differences}


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happened_nothing_differs(stage: Stage, seed: int) -> None:
    await some_history(stage, random.Random(seed))
    for _ in range(2):  # before the projector came, and after
        found = await replayed(stage)
        assert found.differences == []
        assert (found.different, found.unknown, found.events) == (0, 0, await stage.log.head())
        await project_all(stage)
    assert found.objects == {"batch": 7, "file": 4, "key": 3, "upload": 2, "webhook_endpoint": 2}
    assert sum(found.batches.values()) == 7
    assert found.batches["completed"] == 1


async def test_each_field_that_was_edited_is_named(stage: Stage, owner: asyncpg.Connection) -> None:
    batch_id, file, lost = await stage.running_batch(10), await stage.file(), await stage.file()
    await stage.project(Batch, batch_id)
    for statement in (
        f"UPDATE read_models SET state = replace(state, 'l\":10', 'l\":11') WHERE id = '{batch_id}'",
        f"UPDATE read_models SET hidden = true, label = 'other' WHERE id = '{file}'",
        f"DELETE FROM read_models WHERE id = '{lost}'",
        "INSERT INTO read_models (id, kind, project_id, created_at) VALUES ('file-0', 'file', 'p', now())",
    ):
        await owner.execute(statement)
    assert await told(stage) == {
        (batch_id, "state.total"): ("10", "11"),
        (file, "hidden"): ("False", "True"),
        (file, "label"): ("batch", "other"),
        (lost, "row"): ("there", None),
        ("file-0", "row"): (None, "there"),
    }


async def test_a_file_must_be_there_as_it_was_recorded(
    stage: Stage, store: LocalFolder, tmp_path: Path
) -> None:
    async def made(body: bytes) -> tuple[str, Path]:
        async def whole() -> AsyncIterator[bytes]:
            yield body

        stored = await store.put(whole(), prefix="files", project="p")
        file_id = f"file-{stored.key[-8:]}"
        created = FileCreated("in.jsonl", "batch", stored.size, stored.sha256.hex(), stored.key)
        row = Row("file", file_id, PROJECT, label="batch", stored=stored.key)
        await stage.log.append([new_event(file_id, PROJECT, created)], rows=[row])
        [path] = (tmp_path / "files").rglob(stored.key.rpartition("/")[2])
        return file_id, path

    await made(b"whole")
    empty, gone = await made(b""), await made(b"12345")
    longer, shorter, other = await made(b"12345"), await made(b"12345"), await made(b"12345")
    gone[1].unlink()
    longer[1].write_bytes(b"123456")
    shorter[1].write_bytes(b"1234")
    other[1].write_bytes(b"54321")

    found = await Replay(stage.database, store).run()
    assert {it.object: (it.field, it.live) for it in found.differences} == {
        gone[0]: ("contents", None),
        longer[0]: ("contents", "longer"),
        shorter[0]: ("contents", "shorter"),
    }
    assert found.files_compared == 6
    hashed = await Replay(stage.database, store, hashed=True).run()
    assert {it.object for it in hashed.differences} == {it[0] for it in (gone, longer, shorter, other)}
    assert empty[0] not in {it.object for it in hashed.differences}


async def test_up_to_a_position_objects_are_as_they_were(stage: Stage, owner: asyncpg.Connection) -> None:
    batch_id, file = await stage.running_batch(10), await stage.file()
    position = await stage.log.head()
    await stage.cancel(batch_id)
    await owner.execute("UPDATE read_models SET hidden = true")

    then = await replayed(stage, until=position)

    assert (then.events, then.batches, then.changed_since) == (position, {"in_progress": 1}, 1)
    assert then.differences == [Difference(file, "hidden", "False", "True")]
    assert (await replayed(stage, until=0)).objects == {}
    assert (await replayed(stage)).batches == {"cancelling": 1}


async def test_what_only_a_newer_program_can_read_is_counted_and_no_difference(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=10)
    for stream, type_ in ((batch_id, "BatchTeleported"), ("planet_1", "PlanetFound")):
        await stage.log.append([NewEvent(uuid4(), stream, PROJECT, type_, "{}")])
    await project_all(stage)
    found = await replayed(stage)
    assert (found.parked, found.unknown, found.different) == (1, 1, 0)


async def test_what_is_written_meanwhile_is_no_difference(database: Database, stage: Stage) -> None:
    batch_id, stop = await stage.running_batch(200), asyncio.Event()
    claims = await stage.claims(batch_id, range(0, 201, 2))

    async def write() -> None:
        async with open_stage(database.app_url) as writing:
            while not stop.is_set():
                file = await writing.file()
                if claims:
                    claim = claims.pop()
                    await writing.log.flush([flush_of(claim, claim.open_lines())])
                await writing.project(Batch, batch_id)
                await writing.delete_file(file)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for _ in range(5):
            assert (await replayed(stage, page=3)).differences == []
        stop.set()
