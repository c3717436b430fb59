"""`batchmill prune`: how much of the log would move, what moved, and who may not."""

import asyncio
import json
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from tests.engine.audit.mill import KEY, NEXT_KEY
from tests.engine.audit.pruned_log import kinds, project_all
from tests.engine.audit.sealed_log import make_sealed_log
from tests.postgres import Database

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def pruning(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command, on a log of which one batch can be moved."""

    async def make() -> None:
        await make_sealed_log(database, tmp_path, batches=4, lines=6)
        await project_all(database, tmp_path)

    asyncio.run(make())
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", database.app_url)
    monkeypatch.setenv("BATCHMILL_DATABASE_OWNER_URL", database.owner_url)
    monkeypatch.setenv("BATCHMILL_STORAGE_URL", tmp_path.as_uri())
    return ["prune", "--key", KEY.public.text, "--older-than", "0s"]


def test_it_says_what_would_move_and_then_what_did(
    pruning: list[str], database: Database, tmp_path: Path, capsys: Capture
) -> None:
    before = asyncio.run(kinds(database))
    assert run([*pruning, "--dry-run", "--json"]) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert asyncio.run(kinds(database)) == before
    assert told["segments"] == 1
    assert told["bytes"] > told["stored"] > 0
    assert run(pruning) == ExitCode.OK
    said = capsys.readouterr().out
    assert f"Moved {told['events']} events of {told['bytes']:,} bytes to storage, as 1 segment of" in said
    assert f"{told['kept']:,} as old stay: " in said
    after = asyncio.run(kinds(database))
    assert sum(before.values()) - sum(after.values()) == told["events"]
    [segment] = tmp_path.glob("audit/*/segments/*")
    assert segment.stat().st_size == told["stored"]
    assert run(pruning) == ExitCode.OK
    assert capsys.readouterr().out.startswith("Nothing to move.\n")


def test_what_is_young_or_not_sealed_by_that_key_stays_and_the_application_may_not(
    pruning: list[str],
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    before = asyncio.run(kinds(database))
    assert run([*pruning[:-1], "30d"]) == ExitCode.OK
    assert run(["prune", "--key", NEXT_KEY.public.text]) == ExitCode.NOT_FOUND
    assert "only what is sealed is moved" in capsys.readouterr().err
    monkeypatch.delenv("BATCHMILL_DATABASE_OWNER_URL")
    assert run(pruning) == ExitCode.USAGE
    assert "database_owner_url" in capsys.readouterr().err
    assert not list(tmp_path.glob("audit/*/segments/*"))
    assert asyncio.run(kinds(database)) == before
