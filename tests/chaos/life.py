"""A client's day with servers that die or stand still: batches that end, are cancelled, are deleted."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final, TypeVar

import aiohttp

from tests.chaos.checker import Kill, Story, broken_promises
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import BOUND, PATIENCE, Mill, Refused, polling
from tests.chaos.witness import remains_of, story_of

LINES: Final = 24
ONE_TRY: Final = 3.0
"""Seconds after which a client asks the next server."""

T = TypeVar("T")


class Life:
    """`deaths` are all the moments at which a server died or stood still, appended by the test."""

    def __init__(self, mills: Sequence[Mill], ledger: Path) -> None:
        self._mills = mills
        self._turn = cycle(mills)
        self._ledger = ledger
        self._finished = ""
        self.deaths: list[Kill] = []

    async def one_day(self) -> None:
        """A batch of each kind, and what becomes of its files."""
        output = await self.finish_a_batch()
        await self.cancel_a_batch()
        await self.delete_results(output)
        await self.until_erased()

    async def finish_a_batch(self) -> str:
        """A batch that completes; returns the output file."""
        lines = fresh_names(LINES)
        story = await self._run(lines, {lines[3]: "503x1", lines[7]: "400"})
        assert story.polls[-1]["status"] == "completed"
        self._finished = story.polls[-1]["id"]
        return str(story.polls[-1]["output_file_id"])

    async def cancel_a_batch(self) -> None:
        """A batch that is cancelled with lines in flight, unless a death made the cancellation come late."""
        lines = fresh_names(LINES)
        deaths = len(self.deaths)
        story = await self._run(lines, dict.fromkeys(lines, "slow 0.2"), cancel_after=4)
        late = len(self.deaths) > deaths
        assert story.polls[-1]["status"] in ("cancelled", "completed" if late else "cancelled")

    async def delete_results(self, file_id: str) -> None:
        """Deletes an output file; one that is gone was deleted before, and the answer was lost."""
        with suppress(Refused):
            await self._ask(lambda mill: mill.delete_file(file_id))

    async def until_erased(self) -> None:
        """Returns when neither a deleted file nor the bodies of its batch are there any more."""
        async with asyncio.timeout(BOUND):
            while await self._ask(partial(remains_of, batch_id=self._finished)):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(PATIENCE)

    async def _run(self, lines: list[str], told: dict[str, str], cancel_after: int | None = None) -> Story:
        content = batch_of(lines, told)
        file_id = await self._ask(lambda mill: mill.upload(content))
        batch_id = await self._ask(lambda mill: mill.batch_of_file(file_id))
        async with polling(self._mills, batch_id) as polls:
            if cancel_after is not None:
                await polls.until_done(cancel_after)
                with suppress(Refused):  # it has ended meanwhile
                    await self._ask(lambda mill: mill.cancel(batch_id))
            await polls.until_ended()
            story = await self._ask(lambda mill: story_of(mill, polls, lines, self._ledger, self.deaths))
        assert broken_promises(story) == []
        return story

    async def _ask(self, what: Callable[[Mill], Awaitable[T]]) -> T:
        """Asks one server after the other, as a client does who knows that they die."""
        async with asyncio.timeout(BOUND):
            while True:
                mill = next(self._turn)
                try:
                    async with asyncio.timeout(ONE_TRY):
                        return await what(mill)
                except (aiohttp.ClientError, OSError, TimeoutError):
                    pass
                except Refused as refused:
                    if refused.status != 503:
                        raise
                await asyncio.sleep(PATIENCE)
