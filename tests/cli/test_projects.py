"""`batchmill projects erase`: everything of one project goes, and nothing of another."""

import asyncio
import json
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from engine.finalizer import Finalizer
from events.batch import Batch
from events.database import Database as Connections
from events.encryption.data_keys import ProjectDataKeys
from events.encryption.wrapping import Wrapping
from events.encryption.wrapping_key import WrappingKey
from events.file import File
from events.upload import Upload
from tests.engine.recorded import PROJECT, World, request_line, world_on
from tests.postgres import Database

Capture = pytest.CaptureFixture[str]


async def fill(world: World) -> str:
    """An ended batch with its files, an upload, and a batch that runs, of which the id is returned."""
    batch = await world.batch([request_line(0)])
    await batch.record_lines([0])
    assert await Finalizer(world.journal, world.store, world.options).finalize(batch.id)
    await world.upload(b"part")
    return (await world.batch([request_line(0)])).id


async def left(world: World) -> tuple[int, int]:
    return (
        await world.models.count(File, PROJECT, 10),
        await world.models.count(Upload, PROJECT, 10),
    )


async def give_data_key(database: Database) -> None:
    connections = await Connections.open(database.app_url, connections=2)
    keys = ProjectDataKeys(connections, Wrapping([WrappingKey.fresh()]), encrypts=True)
    assert await keys.to_encrypt(PROJECT)
    await connections.close()


def test_a_project_is_erased_when_its_batches_have_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    async def prepared() -> str:
        async with world_on(database.app_url, tmp_path / "files") as world:
            return await fill(world)

    async def ends(batch_id: str) -> None:
        async with world_on(database.app_url, tmp_path / "files") as world:
            assert (await world.models.get(Batch, batch_id)).state.stopping
            assert await left(world) == (0, 0)
            assert await Finalizer(world.journal, world.store, world.options).finalize(batch_id)
            assert await left(world) == (1, 0)

    running = asyncio.run(prepared())
    asyncio.run(give_data_key(database))
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", database.app_url)
    capsys.readouterr()
    assert run(["projects", "erase", "another"]) == ExitCode.OK
    assert capsys.readouterr().out == "Deleted 0 files and cancelled 0 uploads of another.\n"

    assert run(["projects", "erase", PROJECT, "--json"]) == ExitCode.FAILED
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "files": 3,
        "uploads": 1,
        "open_batches": [running],
        "unread": [],
        "data_key_destroyed": False,  # what runs needs it
    }
    asyncio.run(ends(running))
    capsys.readouterr()
    assert run(["projects", "erase", PROJECT]) == ExitCode.OK
    assert capsys.readouterr().out == (
        f"Deleted 1 files and cancelled 0 uploads of {PROJECT}.\n"
        "Destroyed its data key: only an older copy of the database and the wrapping key of then, together, "
        "can read what that had encrypted.\n"
    )
