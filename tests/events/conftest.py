"""What the tests of the log ask for."""

from collections.abc import AsyncIterator

import pytest

from tests.events.stage import Stage, open_stage
from tests.postgres import Database


@pytest.fixture
async def stage(database: Database) -> AsyncIterator[Stage]:
    """A log, its read models and its work board, with the application's rights."""
    async with open_stage(database.app_url) as opened:
        yield opened
