"""What the tests of the log ask for."""

from collections.abc import AsyncIterator
from typing import Literal

import asyncpg
import pytest
import pytest_asyncio

from tests.events.stage import Stage, open_stage
from tests.pgbouncer import Bouncer
from tests.postgres import Database, PostgresServer

Way = Literal["direct", "pgbouncer"]
EMPTY = """
SET session_replication_role = replica;  -- no trigger in the way
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND state <> 'idle';  -- those hold nothing, and a bouncer may be about to hand them out
TRUNCATE events, attachments, read_models, batch_work, batch_waits, claims, workers, leaderships, checkpoints,
    webhook_deliveries, signed_checkpoints, data_keys, segments, segment_streams
RESTART IDENTITY;
DELETE FROM incarnations WHERE reason <> 'first';
"""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_database(
    postgres_server: PostgresServer, migrated_template: Database
) -> AsyncIterator[Database]:
    """The one database of all tests of this room that leave its schema alone."""
    async with postgres_server.new_database(migrated_template.name) as shared:
        yield shared


@pytest.fixture
async def database(shared_database: Database) -> Database:
    """An empty log in its first incarnation: a database of one's own would take ten times as long to make."""
    superuser = await asyncpg.connect(shared_database.superuser_url)
    try:
        await superuser.execute(EMPTY)
    finally:
        await superuser.close()
    return shared_database


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module with `WAYS_TO_THE_DATABASE` has its stages opened in each of these ways."""
    ways = getattr(metafunc.module, "WAYS_TO_THE_DATABASE", None)
    if ways is not None and "stage" in metafunc.fixturenames:
        metafunc.parametrize("stage", ways, indirect=True)


@pytest.fixture
async def stage(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[Stage]:
    """A log, its read models and its work board, with the application's rights."""
    way: Way = getattr(request, "param", "direct")
    if way == "pgbouncer":
        bouncer: Bouncer = request.getfixturevalue("bouncer")
        database = bouncer.before(database)
    async with open_stage(database.app_url) as opened:
        yield opened
