"""The real Postgres server that the tests of a session share.

In this order: the server that `BATCHMILL_TEST_DATABASE_URL` names (a superuser's URL), a container where an
engine answers, the Postgres that comes with the program.
"""

import gc
import os
import tempfile
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli.embedded.data_folder import DataFolder
from cli.embedded.postgres import EmbeddedPostgres
from tests.postgres import PostgresServer
from tests.postgres_node import running_postgres

if TYPE_CHECKING:
    from testcontainers.community.postgres import PostgresContainer

CONTAINER_IMAGE = "postgres:15-alpine"
"""The oldest major that the SQL of this project promises to run on."""


@asynccontextmanager
async def running_server(*, durable: bool = False) -> AsyncIterator[PostgresServer]:
    """The server that the tests of this session share. One that is `durable` is for measurements: it keeps
    what it has promised, over a power cut too, and pays for that."""
    given = os.environ.get("BATCHMILL_TEST_DATABASE_URL")
    if given:
        yield PostgresServer(given)
        return
    container = _started_container()
    if container is not None:
        try:
            yield PostgresServer(container.get_connection_url())
        finally:
            container.stop()
        return
    if not durable:
        async with running_postgres() as node:
            yield node.server
        return
    with (
        tempfile.TemporaryDirectory(prefix="batchmill-postgres-") as folder,
        DataFolder.open(Path(folder)) as data,
    ):
        async with EmbeddedPostgres(data) as urls:
            yield PostgresServer(urls.superuser)


def _started_container() -> "PostgresContainer | None":
    """A server in a container, or None where no engine answers or it has no way to the image."""
    from docker.errors import DockerException  # type: ignore[import-untyped]  # it ships no types
    from testcontainers.community.postgres import PostgresContainer

    with warnings.catch_warnings():
        # The probe of an engine that is not there leaves its socket to the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return PostgresContainer(CONTAINER_IMAGE, driver=None).start()
        except DockerException:
            return None
        finally:
            gc.collect()
