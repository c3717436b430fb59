"""One database for all tests of this room, emptied for each."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from tests.engine.audit.mill import Mill
from tests.events.conftest import EMPTY
from tests.events.stage import open_stage
from tests.postgres import Database, PostgresServer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def audited_database(
    postgres_server: PostgresServer, migrated_template: Database
) -> AsyncIterator[Database]:
    """The database of the room."""
    async with postgres_server.new_database(migrated_template.name) as shared:
        yield shared


@pytest.fixture
async def database(audited_database: Database) -> Database:
    """An empty log in its first incarnation."""
    superuser = await asyncpg.connect(audited_database.superuser_url)
    try:
        await superuser.execute(EMPTY)
        await superuser.execute("DELETE FROM incarnations WHERE reason <> 'first'")
    finally:
        await superuser.close()
    return audited_database


@pytest.fixture
async def mill(database: Database, tmp_path: Path) -> AsyncIterator[Mill]:
    async with open_stage(database.app_url) as stage:
        mill = Mill(stage, database, tmp_path / "objects", await stage.lead("sealer"))
        yield mill
        await mill.store.close()
