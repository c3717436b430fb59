"""What the tests of every room may ask for: a real Postgres server and a fresh database on it, a real broker
and a place on it."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import structlog

from cli.embedded.postgres import LOGIN
from events.migrate import migrate
from tests.pgbouncer import Bouncer, running_bouncer
from tests.postgres import Database, PostgresServer
from tests.rabbit import Broker, new_place, shared_broker
from tests.rabbit_node import RabbitNode, installed_server, running_node
from tests.shared_postgres import running_server


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command that runs within a test sets up logs, on a stream that lives no longer than the test."""
    yield
    structlog.reset_defaults()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server() -> AsyncIterator[PostgresServer]:
    """The server of this test session, with the roles of the program made on it."""
    async with running_server() as server:
        await server.ensure_roles()
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated_template(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    """A database migrated once in this session, never connected to again: `database` is copied from it."""
    async with postgres_server.new_database() as template:
        await migrate(template.owner_url, LOGIN)
        yield template


@pytest.fixture
async def database(postgres_server: PostgresServer, migrated_template: Database) -> AsyncIterator[Database]:
    """A migrated database of this test's own."""
    async with postgres_server.new_database(migrated_template.name) as fresh:
        yield fresh


@pytest.fixture
async def empty_database(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    """A database of this test's own in which nothing was migrated yet."""
    async with postgres_server.new_database() as fresh:
        yield fresh


@pytest.fixture(scope="session")
def bouncer(postgres_server: PostgresServer) -> Iterator[Bouncer]:
    """A PgBouncer in transaction mode in front of the server of this session."""
    with running_bouncer(postgres_server) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def broker_server() -> AsyncIterator[str | RabbitNode]:
    """The broker of this test session."""
    async with shared_broker() as server:
        yield server


@pytest.fixture
async def broker(broker_server: str | RabbitNode) -> AsyncIterator[Broker]:
    """A place on the broker for this test alone."""
    async with new_place(broker_server) as place:
        yield place


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def broker_node(broker_server: str | RabbitNode) -> AsyncIterator[RabbitNode]:
    """A broker of our own, to be killed, wiped and starved; it runs again after each test that asked for a
    place on it."""
    if isinstance(broker_server, RabbitNode):
        yield broker_server
    else:
        async with running_node(installed_server()) as node:
            yield node
