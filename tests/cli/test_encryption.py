"""`batchmill encryption`: wrapping keys are made, shown and taken in turn."""

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from cli.encryption_parts import data_keys_of, open_contents
from cli.exit_codes import ExitCode
from cli.main import run
from cli.settings import Settings
from cli.settings_sources import load
from cli.stack import open_shared_stack
from events.database import Database as Connections
from events.errors import SettingsError
from storage.data_key import DataKey
from storage.local_folder import LocalFolder
from tests.postgres import Database

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def key_file(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file of one wrapping key, which the settings name."""
    file = tmp_path / "wrapping-key"
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", database.app_url)
    monkeypatch.setenv("BATCHMILL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BATCHMILL_WRAPPING_KEY_FILE", str(file))
    monkeypatch.setenv("BATCHMILL_ENCRYPT_BODIES", "true")
    assert run(["encryption", "new-key", str(file)]) == ExitCode.OK
    return file


def settings() -> Settings:
    return load(environ=os.environ).settings


async def data_key() -> DataKey:
    database = await Connections.open(settings().database_url or "", connections=2)
    key = await data_keys_of(settings(), database).to_encrypt("p")
    await database.close()
    assert key is not None
    return key


def shown(capsys: Capture) -> dict[str, object]:
    capsys.readouterr()
    assert run(["encryption", "show", "--json"]) == ExitCode.OK
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def ids(key_file: Path) -> list[str]:
    return [line.split("+")[2] for line in key_file.read_text().splitlines()]


def wrapper(id: str, keys: int, *, newest: bool) -> dict[str, object]:
    return {"wrapped_by": id, "data_keys": keys, "given": True, "newest": newest}


def test_a_key_takes_the_place_of_another(key_file: Path, capsys: Capture) -> None:
    [old] = ids(key_file)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key = asyncio.run(data_key())
    assert shown(capsys) == {"encrypts": True, "wrappers": [wrapper(old, 1, newest=True)]}

    assert run(["encryption", "new-key", str(key_file), "--rotate"]) == ExitCode.OK
    new = capsys.readouterr().out.strip()
    assert ids(key_file) == [new, old]
    both = [wrapper(new, 0, newest=True), wrapper(old, 1, newest=False)]
    assert shown(capsys) == {"encrypts": True, "wrappers": both}

    assert run(["encryption", "rewrap"]) == ExitCode.OK
    assert capsys.readouterr().out == "Wrapped 1 data keys again.\n"
    key_file.write_text(key_file.read_text().splitlines()[0])
    assert shown(capsys) == {"encrypts": True, "wrappers": [wrapper(new, 1, newest=True)]}
    assert asyncio.run(data_key()).secret == key.secret


def test_a_key_file_that_is_there_is_left_alone(key_file: Path, capsys: Capture) -> None:
    before = key_file.read_text()
    assert run(["encryption", "new-key", str(key_file)]) == ExitCode.USAGE
    assert "--rotate" in capsys.readouterr().err
    assert key_file.read_text() == before


def test_what_reads_contents_says_which_key_it_lacks(
    key_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    [id] = ids(key_file)
    asyncio.run(data_key())
    monkeypatch.delenv("BATCHMILL_WRAPPING_KEY_FILE")
    assert run(["encryption", "show"]) == ExitCode.USAGE
    assert "encrypt_bodies needs wrapping_key or wrapping_command" in capsys.readouterr().err
    monkeypatch.delenv("BATCHMILL_ENCRYPT_BODIES")

    async def opened() -> None:
        database = await Connections.open(settings().database_url or "", connections=2)
        folder = LocalFolder(tmp_path / "objects")
        try:
            await open_contents(settings(), database, folder)
        finally:
            await folder.close()
            await database.close()

    with pytest.raises(SettingsError, match=f"{id}.*BATCHMILL_WRAPPING_KEY_FILE"):
        asyncio.run(opened())
    assert run(["encryption", "rewrap"]) == ExitCode.USAGE
    assert "BATCHMILL_WRAPPING_KEY_FILE" in capsys.readouterr().err


def test_a_process_that_does_not_encrypt_beside_others_that_do_says_so(
    key_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BATCHMILL_STORAGE_URL", (tmp_path / "files").as_uri())

    def told() -> list[str]:
        async def start() -> None:
            async with open_shared_stack(settings()):
                pass

        with capture_logs() as said:
            asyncio.run(start())
        return [entry["event"] for entry in said if "encrypted" in entry["event"]]

    asyncio.run(data_key())
    assert told() == []
    monkeypatch.setenv("BATCHMILL_ENCRYPT_BODIES", "false")
    [warning] = told()
    assert "encrypt_bodies in every process" in warning
