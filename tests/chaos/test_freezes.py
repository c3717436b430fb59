"""Two servers on one database, of which one stands still: nobody is held up, and what thaws does no harm.

Each has a bus of its own, so each learns from the database alone what the other does.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.checker import Kill, broken_promises, in_flight, repeats
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.life import Life
from tests.chaos.mill import PATIENCE, Mill, mill, polling
from tests.chaos.test_failpoints import COMMITS
from tests.chaos.witness import story_of
from tests.postgres import Database
from tests.upstream import LedgerUpstream

CONCURRENCY = 8
LEASE = 1.0


@asynccontextmanager
async def two_mills(
    tmp_path: Path,
    upstream: LedgerUpstream,
    database: Database,
    in_first: Sequence[str] = (),
    in_second: Sequence[str] = (),
) -> AsyncIterator[tuple[Mill, Mill]]:
    """Two servers of one database and one storage folder, each with its failpoints."""
    settings = {
        "database_url": database.app_url,
        "database_owner_url": database.owner_url,
        "storage_url": (tmp_path / "files").as_uri(),
        "concurrency": str(CONCURRENCY),
        "chunk_lines": "16",
        "lease": f"{LEASE:g}s",
    }
    (tmp_path / "files").mkdir()
    async with (
        mill(tmp_path / "first", upstream.url, ",".join(in_first), **settings) as first,
        mill(tmp_path / "second", upstream.url, ",".join(in_second), **settings) as second,
    ):
        yield first, second


@pytest.mark.soak  # test_frozen_pods freezes a worker
async def test_a_frozen_server_is_replaced_and_thaws_without_harm(
    tmp_path: Path, upstream: LedgerUpstream, ledger: Path, database: Database
) -> None:
    upstream.latency = 0.05
    lines = fresh_names(600)
    async with two_mills(tmp_path, upstream, database) as (first, second):
        await first.until_said("leading")
        batch_id = await second.submit(batch_of(lines))
        async with polling(second, batch_id) as polls:
            await polls.until_done(100)
            first.freeze()
            frozen = Kill(time.monotonic())
            await second.until_said("workers died")
            await second.until_said("leading")
            done = sum(polls.seen[-1]["request_counts"][name] for name in ("completed", "failed"))
            await polls.until_done(done + 100)
            frozen.thawed = time.monotonic()
            first.thaw()
            await first.until_said("declared dead")
            await polls.until_ended()
            story = await story_of(second, polls, lines, ledger, [frozen])
        assert await first.stop() == 0
        assert await second.stop() == 0

    assert broken_promises(story) == []
    assert repeats(story) <= in_flight(story, frozen)


async def until_more(freezes: Sequence[Kill], than: int) -> None:
    """Returns when there are more freezes than so many."""
    while len(freezes) <= than:  # noqa: ASYNC110  # they happen in other processes
        await asyncio.sleep(PATIENCE)


@pytest.mark.soak
@pytest.mark.parametrize("passage", [1, 2, 3, 5, 8, 13])
async def test_servers_that_stand_still_at_every_commit_in_turn(
    passage: int, tmp_path: Path, upstream: LedgerUpstream, ledger: Path, database: Database
) -> None:
    """Each point is armed in one of the two, so that work and leadership move to and fro."""
    upstream.latency = 0.01
    armed = [f"{point}=hang@{passage}" for point in COMMITS]
    async with two_mills(tmp_path, upstream, database, armed[::2], armed[1::2]) as mills:
        life = Life(mills, ledger)

        async def thaw(frozen: Mill) -> None:
            while True:
                if frozen.stopped:
                    freeze = Kill(time.monotonic())
                    life.deaths.append(freeze)
                    await asyncio.sleep(2 * LEASE)
                    freeze.thawed = time.monotonic()
                    frozen.thaw()
                await asyncio.sleep(PATIENCE)

        async with asyncio.TaskGroup() as group, asyncio.timeout(200):
            thawing = [group.create_task(thaw(mill)) for mill in mills]
            by_hand = 0
            while len(life.deaths) - by_hand < len(armed):
                await life.one_day()
                leader = mills[by_hand % 2]
                if not leader.stopped:  # so that the other one leads the next day
                    stops = len(life.deaths)
                    leader.freeze()
                    await until_more(life.deaths, stops)
                    by_hand += 1
            for task in thawing:
                task.cancel()
