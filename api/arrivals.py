"""Files and parts on their way in: few at once in a process, so that what they hold of its memory is bounded.
Who finds no slot waits, and with it the client: nothing more is read of its body."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from api.services import ApiServices

PATIENCE: Final = 60.0
_LATE: Final = "The server takes in as many files as it can at once."


@asynccontextmanager
async def arriving(services: ApiServices, project_id: str) -> AsyncIterator[None]:
    """A slot for the block, which reads a body into the store; how slowly it may come is the body's to say.
    Raises the 503 of an `ApiError` where none is free in time."""
    async with services.arrivals.for_as_long_as_it_takes(project_id, PATIENCE, _LATE):
        yield
