"""The official SDK against a running API, as a user's program: one `base_url`, one key, nothing else."""

from collections.abc import AsyncIterator, Iterator

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.api.conftest import project, served
from tests.api.serving import Project, Served

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
