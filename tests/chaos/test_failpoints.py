"""Death at each side of each commit, publish, ack and put: the batch ends, with every promise kept."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from events import failpoint
from tests.chaos.checker import Kill, Story, broken_promises
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import BOUND, PATIENCE, Mill, Refused, mill, polling
from tests.chaos.witness import remains_of, story_of
from tests.upstream import LedgerUpstream

COMMITS: Final = tuple(
    name
    for name in failpoint.NAMES
    if name.split(".")[0]
    in ("append", "flush", "erase", "put", "delete", "claim", "hand_back", "hand_out", "checkpoint")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that all of these tests use, one after the other, as they leave it."""
    return tmp_path_factory.mktemp("mill") / "data"


class Life:
    """A client's day with a server that may die: batches that run through, are cancelled, are deleted."""

    def __init__(self, serving: Mill, ledger: Path) -> None:
        self._serving = serving
        self._ledger = ledger
        self._finished = ""
        self.deaths: list[Kill] = []
        self.reborn = asyncio.Event()

    async def finish_a_batch(self) -> str:
        """A batch that completes; returns the output file."""
        lines = fresh_names(24)
        batch = await self._run(lines, {lines[3]: "503x1", lines[7]: "400"}, cancel_after=None)
        self._finished = batch.polls[-1]["id"]
        assert batch.polls[-1]["status"] == "completed"
        return str(batch.polls[-1]["output_file_id"])

    async def cancel_a_batch(self) -> None:
        """A batch that is cancelled with lines in flight."""
        lines = fresh_names(24)
        story = await self._run(lines, dict.fromkeys(lines, "slow 0.2"), cancel_after=4)
        assert story.polls[-1]["status"] == "cancelled"

    async def delete_results(self, file_id: str) -> None:
        """Deletes an output file."""
        with suppress(Refused):  # it was deleted before, and the answer was lost
            await self._serving.patiently(partial(self._serving.delete_file, file_id))

    async def until_erased(self) -> None:
        """Returns when neither a deleted file nor the bodies of its batch are there any more."""
        left = partial(remains_of, self._serving, self._finished)
        async with asyncio.timeout(BOUND):
            while await self._serving.patiently(left):  # noqa: ASYNC110  # it is in another process
                await asyncio.sleep(PATIENCE)

    async def until_reborn(self) -> None:
        """Returns when the server has died and is up again."""
        async with asyncio.timeout(BOUND):
            await self.reborn.wait()

    async def _run(self, lines: list[str], told: dict[str, str], cancel_after: int | None) -> Story:
        serving = self._serving
        file_id = await serving.patiently(partial(serving.upload, batch_of(lines, told)))
        batch_id = await serving.patiently(partial(serving.batch_of_file, file_id))
        async with polling(serving, batch_id) as polls:
            if cancel_after is not None:
                await polls.until_done(cancel_after)
                await serving.patiently(partial(serving.cancel, batch_id))
            await polls.until_ended()
            story = await serving.patiently(
                partial(story_of, serving, polls, lines, self._ledger, self.deaths)
            )
        assert broken_promises(story) == []
        return story


@asynccontextmanager
async def life(serving: Mill, ledger: Path) -> AsyncIterator[Life]:
    """A client's life, and somebody who starts the server again whenever it has died."""
    living = Life(serving, ledger)

    async def keep_up() -> None:
        async for _ in serving.deaths():
            living.deaths.append(Kill(time.monotonic()))
            await serving.start()
            living.reborn.set()

    keeper = asyncio.create_task(keep_up())
    try:
        yield living
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper


@pytest.mark.parametrize("point", failpoint.NAMES)
async def test_a_death_at_any_point(point: str, folder: Path, upstream: LedgerUpstream, ledger: Path) -> None:
    upstream.latency = 0.01
    armed = f"{point}=kill"
    async with mill(folder, upstream.url, armed, concurrency="4", chunk_lines="8") as serving:
        async with life(serving, ledger) as living:
            output = await living.finish_a_batch()
            if serving.starts == 1:
                await living.cancel_a_batch()
            if serving.starts == 1:
                await living.delete_results(output)
                await living.until_reborn()
                await living.until_erased()
        assert serving.starts == 2, f"{point} killed more than once"
        assert await serving.stop() == 0


@pytest.mark.parametrize("point", COMMITS)
async def test_an_answer_lost_at_any_commit(
    point: str, folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    upstream.latency = 0.01
    armed = f"{point}=raise@2"
    async with mill(folder, upstream.url, armed, concurrency="4", chunk_lines="8") as serving:
        async with life(serving, ledger) as living:
            output = await living.finish_a_batch()
            await living.cancel_a_batch()
            await living.delete_results(output)
            await living.until_erased()
        assert serving.starts == 1
        assert await serving.stop() == 0
