"""What a process of many stands on."""

import os
import tempfile
from pathlib import Path

import pytest

from cli.settings_sources import load
from cli.stack import open_shared_stack
from tests.postgres import Database


async def test_a_process_that_is_killed_leaves_no_folder_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environ = os.environ | {
        "BATCHMILL_DATABASE_URL": database.app_url,
        "BATCHMILL_STORAGE_URL": (tmp_path / "files").as_uri(),
    }
    async with open_shared_stack(load(environ=environ).settings):
        assert set(os.listdir(tmp_path)) <= {"files"}
