"""The official SDK against a running API, as a user's program: one `base_url`, one key, nothing else. And
places for whole Batchmills, of one process and of several: a test that asks for one runs on both."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from openai import AsyncOpenAI, OpenAI

from tests.api.conftest import project, served
from tests.api.serving import Project, Served
from tests.contract.mill import Embedded, Pods
from tests.made_data_folder import copy_data_folder
from tests.postgres import Database, PostgresServer
from tests.rabbit import new_place
from tests.rabbit_node import RabbitNode

__all__ = ["project", "served"]


@pytest.fixture
def base_url(served: Served) -> str:
    """Where an SDK finds the API."""
    return f"http://127.0.0.1:{served.port}/v1"


@pytest.fixture
def openai(base_url: str, project: Project) -> Iterator[OpenAI]:
    """The SDK with the project's key."""
    with OpenAI(base_url=base_url, api_key=project.key) as client:
        yield client


@pytest.fixture
async def async_openai(base_url: str, project: Project) -> AsyncIterator[AsyncOpenAI]:
    """The asynchronous SDK with the project's key."""
    async with AsyncOpenAI(base_url=base_url, api_key=project.key) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["embedded", "pods"])
async def place(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
    migrated_template: Database,
    made_data_folder: Path,
    broker_server: str | RabbitNode,
) -> AsyncIterator[Embedded | Pods]:
    """Where the mill of a module runs."""
    folder = tmp_path_factory.mktemp("mill")
    if request.param == "embedded":
        copy_data_folder(made_data_folder, folder / "data")
        yield Embedded(folder / "data")
        return
    async with (
        postgres_server.new_database(migrated_template.name) as database,
        new_place(broker_server) as broker,
    ):
        yield Pods(folder, database, broker)
