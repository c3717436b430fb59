"""What the tests of sealed and of pruned logs ask for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.engine.audit.mill import Mill
from tests.engine.audit.pruned_log import project_all, prune
from tests.engine.audit.sealed_log import SealedLog, copy_objects, make_sealed_log
from tests.events.stage import open_stage
from tests.postgres import Database, PostgresServer


@pytest.fixture
async def mill(database: Database, tmp_path: Path) -> AsyncIterator[Mill]:
    async with open_stage(database.app_url) as stage:
        mill = Mill(stage, database, tmp_path / "objects", await stage.lead("sealer"))
        yield mill
        await mill.store.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def whole_log(
    postgres_server: PostgresServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SealedLog]:
    """A log of which nothing was moved yet: one of its batches could be."""
    folder = tmp_path_factory.mktemp("whole") / "objects"
    async with postgres_server.new_database(migrated_template.name) as database:
        sealed = await make_sealed_log(database, folder, batches=4, lines=24)
        await project_all(database, folder)
        yield sealed


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pruned_log(
    whole_log: SealedLog, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SealedLog]:
    """The same when they are moved."""
    folder = copy_objects(whole_log.folder, tmp_path_factory.mktemp("pruned") / "objects")
    async with postgres_server.new_database(whole_log.database.name) as database:
        done = await prune(database, folder)
        assert done.segments > 2
        yield SealedLog(database, folder, whole_log.witnessed)


@pytest_asyncio.fixture(loop_scope="session")
async def pruned_copy(
    pruned_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> AsyncIterator[SealedLog]:
    """One to do something to."""
    folder = copy_objects(pruned_log.folder, tmp_path / "objects")
    async with postgres_server.new_database(pruned_log.database.name) as database:
        yield SealedLog(database, folder, pruned_log.witnessed)
