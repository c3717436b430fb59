"""`batchmill audit verify` on a sealed log: what it prints, and what the shell hears."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from cli.exit_codes import ExitCode
from cli.main import run
from engine.audit.progress import Report
from tests.engine.audit.hand import TABLES
from tests.engine.audit.mill import KEY, NEXT_KEY
from tests.engine.audit.sealed_log import SealedLog, make_sealed_log
from tests.postgres import Database, PostgresServer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sealed_log(
    postgres_server: PostgresServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SealedLog]:
    async with postgres_server.new_database(migrated_template.name) as database:
        yield await make_sealed_log(database, tmp_path_factory.mktemp("log") / "objects", batches=1, lines=10)


@pytest.fixture(autouse=True)
def _settings(sealed_log: SealedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", sealed_log.database.app_url)
    monkeypatch.setenv("BATCHMILL_STORAGE_URL", sealed_log.folder.as_uri())
    monkeypatch.setenv("BATCHMILL_AUDIT_KEY", KEY.text)


def test_a_log_that_is_whole_ends_with_zero(
    sealed_log: SealedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    witness, key, resume = tmp_path / "kept", tmp_path / "mill.pub", tmp_path / "state"
    witness.write_text("".join(signed.note.encode() + "\n" for signed in sealed_log.witnessed))
    key.write_text(KEY.public.text + "\n")
    arguments = ["--witness", str(witness), "--key", str(key), "--resume", str(resume)]
    assert run(["audit", "verify", *arguments]) == ExitCode.OK
    told = capsys.readouterr().out
    size = sealed_log.witnessed[-1].checkpoint.size
    assert f"(1 to {size})" in told
    assert f"Sealed up to position {size}, by a checkpoint in" in told
    assert told.endswith("No defects.\n")
    assert not resume.exists()
    assert run(["audit", "verify", "--since", "2026-01-01", "--json"]) == ExitCode.OK
    assert msgspec.json.decode(capsys.readouterr().out, type=Report).events == size
    assert run(["audit", "verify", "--since", str(size)]) == ExitCode.OK


def test_a_defect_is_told_and_heard_of(sealed_log: SealedLog, capsys: pytest.CaptureFixture[str]) -> None:
    change = "UPDATE events SET data = '{}' || data WHERE position = 5"
    asyncio.run(_as_owner(sealed_log.database, change))
    try:
        assert run(["audit", "verify"]) == ExitCode.DEFECTS
        told = capsys.readouterr().out
        assert "event_changed: the type, data, lines or attachment digests of the event at position 5" in told
        assert "[between " in told
        assert told.endswith("1 defect.\n")
        assert run(["audit", "verify", "--json"]) == ExitCode.DEFECTS
        report = msgspec.json.decode(capsys.readouterr().out, type=Report)
        assert [(defect.kind, defect.position) for defect in report.defects] == [("event_changed", 5)]
    finally:
        asyncio.run(
            _as_owner(sealed_log.database, "UPDATE events SET data = substr(data, 3) WHERE position = 5")
        )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--batch", "batch_0"], ExitCode.NOT_FOUND),
        (["--batch", "batch_0", "--all"], ExitCode.USAGE),
        (["--since", "yesterday"], ExitCode.USAGE),
        (["--key", "nobody"], ExitCode.USAGE),
        (["--witness", "/nowhere"], ExitCode.USAGE),
        (["--key", NEXT_KEY.public.text], ExitCode.DEFECTS),
    ],
    ids=lambda given: " ".join(given)[:20] if isinstance(given, list) else str(given),
)
def test_what_cannot_be_verified_is_said(arguments: list[str], code: ExitCode) -> None:
    assert run(["audit", "verify", *arguments]) == code


def test_progress_of_another_log_is_not_gone_on_with(tmp_path: Path) -> None:
    for text in ("{}", '{"origin":"batchmill/other","base":0,"head":1,"size":0,"anchor":null}'):
        (tmp_path / "state").write_text(text)
        assert run(["audit", "verify", "--resume", str(tmp_path / "state")]) == ExitCode.USAGE


async def _as_owner(database: Database, statement: str) -> None:
    connection = await asyncpg.connect(database.owner_url)
    try:
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await connection.execute(statement)
    finally:
        await connection.close()
