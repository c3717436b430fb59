"""Work that takes a request long: few pieces at once in a process, one of each project, and none for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.errors import unavailable
from api.turns import Turns


class Slots:
    """Room for a few pieces of one kind of work; who finds none waits."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._turns = Turns()

    @asynccontextmanager
    async def one(
        self, project_id: str, patience: float, late: str, *, work: float | None = None
    ) -> AsyncIterator[None]:
        """A slot for the block, when it is the project's turn. Raises `ApiError`, which says `late`, where
        the wait and the block take more than `patience` seconds together, or the block raises
        `TimeoutError`. With `work` the block has that many seconds, and `patience` is for the wait."""
        try:
            async with asyncio.timeout(patience) as limit, self._turns.at(project_id), self._free:
                if work is not None:
                    limit.reschedule(asyncio.get_running_loop().time() + work)
                yield
        except TimeoutError:
            raise unavailable(f"{late} Please try again.") from None
