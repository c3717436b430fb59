"""`batchmill log fork`: a new incarnation, by who owns the database."""

import asyncio
import json
from uuid import UUID

import asyncpg
import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from tests.postgres import Database

Capture = pytest.CaptureFixture[str]


async def incarnations(database: Database) -> list[tuple[UUID, int, str]]:
    connection = await asyncpg.connect(database.app_url)
    try:
        rows = await connection.fetch("SELECT id, position, reason FROM incarnations ORDER BY started_at")
        return [(row["id"], row["position"], row["reason"]) for row in rows]
    finally:
        await connection.close()


def test_a_fork_begins_an_incarnation_and_keeps_the_reason(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", database.app_url)
    assert run(["log", "fork", "--reason", "restored"]) == ExitCode.USAGE
    assert "give the owner's in database_owner_url" in capsys.readouterr().err
    monkeypatch.setenv("BATCHMILL_DATABASE_OWNER_URL", database.owner_url)
    assert run(["log", "fork", "--reason", " "]) == ExitCode.USAGE
    assert "--reason is empty" in capsys.readouterr().err

    assert run(["log", "fork", "--reason", "restored from Tuesday", "--json"]) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert run(["log", "fork", "--reason", "once more"]) == ExitCode.OK
    assert "has begun after position 0." in capsys.readouterr().out
    first, second, third = asyncio.run(incarnations(database))
    assert second == (UUID(told["incarnation"]), 0, "restored from Tuesday")
    assert (first[2], third[1:]) == ("first", (0, "once more"))
