"""What the tests of commands may ask for."""

from pathlib import Path

import pytest

from tests.contract.mill import KEY
from tests.postgres import Database


@pytest.fixture
def external(database: Database, tmp_path: Path) -> dict[str, str]:
    """Settings with which `serve` starts fast: a database that is there already, and a key."""
    return {
        "BATCHMILL_DATABASE_URL": database.app_url,
        "BATCHMILL_DATABASE_OWNER_URL": database.owner_url,
        "BATCHMILL_DATA_DIR": str(tmp_path / "data"),
        "BATCHMILL_API_KEY": KEY,
    }
