"""A client that lists all batches again and again, over restarts of the server, and keeps what it saw."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from tests.chaos.mill import ENDED, Json
from tests.chaos.patient_client import WITHIN, PatientClient

LOOK: Final = 0.25
"""Seconds between two looks."""
PAGE: Final = 100


class Watch:
    """What the list has said of the batches that are followed: each answer that differs from the last."""

    def __init__(self, client: PatientClient) -> None:
        self._client = client
        self._seen: dict[str, list[Json]] = {}
        self._moved = asyncio.Event()
        self._task = asyncio.create_task(self._look())

    def follow(self, batch_id: str) -> list[Json]:
        """Everything that is seen of a batch from now on; it grows until the batch has ended."""
        return self._seen.setdefault(batch_id, [])

    async def until(self, batch_id: str, reached: Callable[[Json], bool]) -> Json:
        """The batch as soon as something holds of it."""
        polls = self.follow(batch_id)
        try:
            async with asyncio.timeout(WITHIN):
                while not (polls and reached(polls[-1])):
                    if self._task.done():
                        self._task.result()
                    await self._moved.wait()
        except TimeoutError:
            raise AssertionError(f"not reached; the last that was seen is {polls[-1:]}") from None
        return polls[-1]

    async def until_ended(self, batch_id: str) -> Json:
        """The batch when it has ended."""
        return await self.until(batch_id, lambda batch: batch["status"] in ENDED)

    async def close(self) -> None:
        """Looks no more. Raises what ended it before."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _look(self) -> None:
        while True:
            open_ones = {id for id, polls in self._seen.items() if not (polls and _ended(polls[-1]))}
            after = ""
            while open_ones:
                page = (await self._client.ask("GET", f"/batches?limit={PAGE}{after}")).json
                for batch in page["data"]:
                    if batch["id"] in open_ones:
                        open_ones.remove(batch["id"])
                        self._add(batch)
                if not page["has_more"]:
                    break
                after = f"&after={page['last_id']}"
            self._moved.set()
            self._moved = asyncio.Event()
            await asyncio.sleep(LOOK)

    def _add(self, batch: Json) -> None:
        polls = self._seen[batch["id"]]
        if not (polls and polls[-1] == batch):
            polls.append(batch)


def _ended(batch: Json) -> bool:
    return batch["status"] in ENDED


@asynccontextmanager
async def watching(client: PatientClient) -> AsyncIterator[Watch]:
    """A watch for as long as the block runs."""
    watch = Watch(client)
    try:
        yield watch
    finally:
        await watch.close()
