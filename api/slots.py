"""Work that takes a request long: few pieces at once in a process, and fewer of each project."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from api.errors import unavailable


class Slots:
    """Room for `most` pieces of one kind of work, `each` of them of one project; who finds none waits."""

    def __init__(self, most: int, each: int = 1) -> None:
        self._free = asyncio.Semaphore(most)
        self._each = each
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def one(
        self, project_id: str, patience: float, late: str, *, work: float | None = None
    ) -> AsyncIterator[None]:
        """A slot for the block, when it is the project's turn. Raises `ApiError`, which says `late`, where
        the wait and the block take more than `patience` seconds together, or the block raises
        `TimeoutError`. With `work` the block has that many seconds, and `patience` is for the wait."""
        try:
            async with asyncio.timeout(patience) as limit, self._share(project_id), self._free:
                if work is not None:
                    limit.reschedule(asyncio.get_running_loop().time() + work)
                yield
        except TimeoutError:
            raise unavailable(f"{late} Please try again.") from None

    @asynccontextmanager
    async def for_as_long_as_it_takes(
        self, project_id: str, patience: float, late: str
    ) -> AsyncIterator[None]:
        """A slot for the block, which ends by rules of its own. Raises `ApiError`, which says `late`, where
        the wait for the slot takes more than `patience` seconds."""
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(patience):
                    await held.enter_async_context(self._share(project_id))
                    await held.enter_async_context(self._free)
            except TimeoutError:
                raise unavailable(f"{late} Please try again.") from None
            yield

    def _share(self, project_id: str) -> asyncio.Semaphore:
        return self._shares.setdefault(project_id, asyncio.Semaphore(self._each))
