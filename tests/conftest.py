"""What the tests of every room may ask for: a real Postgres server and a fresh database on it, a real broker
and a place on it."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from hypothesis import settings

from cli.embedded.postgres import LOGIN
from events.migrate import migrate
from tests.certificate import make_certificate
from tests.chaos.telling import TOLD
from tests.made_data_folder import copy_data_folder, make_data_folder
from tests.pgbouncer import Bouncer, running_bouncer
from tests.postgres import Database, PostgresServer
from tests.rabbit import Broker, new_place, shared_broker
from tests.rabbit_node import RabbitNode, installed_server, running_node
from tests.shared_postgres import running_server

EXAMPLES = int(os.environ.get("BATCHMILL_TEST_EXAMPLES", "40"))
"""Examples of each property; more make a longer search."""
# How long one takes is up to the machine.
settings.register_profile("tests", deadline=None, max_examples=EXAMPLES)
settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test speaks to the world, and each process of one would begin with a tenth of a second in which it
    reads whom the world trusts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(make_certificate(tmp_path_factory.mktemp("authority")).certificate))
        yield


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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def made_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a migrated database, never run on: `data_folder` is copied from it."""
    path = tmp_path_factory.mktemp("made") / "data"
    await make_data_folder(path)
    return path


@pytest.fixture
def data_folder(made_data_folder: Path, tmp_path: Path) -> Path:
    """A data folder of this test's own, with a migrated database."""
    path = tmp_path / "data"
    copy_data_folder(made_data_folder, path)
    return path


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows what tests have told, passed or failed."""
    for report in (one for outcome in ("passed", "failed") for one in terminalreporter.getreports(outcome)):
        for name, told in report.user_properties:
            if name == TOLD and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}\n  {told}")
