"""`batchmill audit replay`: what it prints, and what the shell hears of it."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from events.batch import Batch
from tests.events.stage import Stage, open_stage
from tests.postgres import Database

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: Database) -> None:
    monkeypatch.setenv("BATCHMILL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", database.app_url)
    monkeypatch.setenv("BATCHMILL_STORAGE_URL", (tmp_path / "files").as_uri())


async def replay(*arguments: str) -> int:
    return await asyncio.to_thread(run, ["audit", "replay", *arguments])


async def some_batch(stage: Stage) -> str:
    batch_id = await stage.running_batch(10)
    await stage.project(Batch, batch_id)
    await stage.cancel(batch_id)
    return batch_id


async def test_a_difference_is_named_and_is_an_exit_code(database: Database, capsys: Capture) -> None:
    async with open_stage(database.app_url) as stage:
        batch_id = await some_batch(stage)
    assert await replay() == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[-1].split() == ["differences", "0"]
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute("UPDATE read_models SET state = replace(state, '10,', '11,')")
    await owner.close()
    assert await replay() == ExitCode.DEFECTS
    assert capsys.readouterr().out.splitlines()[-1].split() == [batch_id, "state.total", "10", "11"]
    assert await replay("--json") == ExitCode.DEFECTS
    told = json.loads(capsys.readouterr().out)
    assert told["differences"] == [
        {"object": batch_id, "field": "state.total", "replayed": "10", "live": "11"}
    ]


async def test_a_past_is_asked_for_by_position_or_time(database: Database, capsys: Capture) -> None:
    async with open_stage(database.app_url) as stage:
        await some_batch(stage)
    for until, status in (("2", "in_progress"), ("9999-01-01", "cancelling"), ("2000-01-01T00:00", None)):
        assert await replay("--until", until, "--json") == ExitCode.OK
        assert list(json.loads(capsys.readouterr().out)["batches"]) == ([status] if status else [])
    assert await replay("--until", "yesterday") == ExitCode.USAGE
    assert "is no position, and no time" in capsys.readouterr().err
