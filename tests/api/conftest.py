"""A running API for each module of tests, and a project of its own for each test."""

from collections.abc import Iterator

import pytest

from tests.api.serving import Project, Served, serving
from tests.postgres import Database, PostgresServer


@pytest.fixture(scope="module")
def served(
    postgres_server: PostgresServer,
    migrated_template: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """The API on a socket."""
    with serving(postgres_server, migrated_template.name, tmp_path_factory.mktemp("files")) as running:
        yield running


@pytest.fixture
def project(served: Served) -> Project:
    """A project that nobody else uses."""
    return served.project()
