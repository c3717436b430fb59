"""Death at each side of each commit, publish, ack and put: the batch ends, with every promise kept."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from events import failpoint
from tests.chaos.checker import Kill
from tests.chaos.life import Life
from tests.chaos.mill import BOUND, Mill, mill
from tests.made_data_folder import copy_data_folder
from tests.upstream import LedgerUpstream

COMMITS: Final = tuple(
    name
    for name in failpoint.NAMES
    if name.split(".")[0]
    in ("append", "flush", "erase", "put", "delete", "claim", "hand_back", "hand_out", "checkpoint")
)
DECISIVE: Final = ("append", "flush", "put", "claim", "hand_out", "checkpoint")
"""Where something is decided; a death at the other points is rarer news, and left to the soak."""
SERVED: Final = tuple(
    name for name in failpoint.NAMES if name.split(".")[0] not in ("copy", "swap", "segment", "prune")
)
"""Points that a server passes; the others are those of a rebuild and of pruning."""
DEADLY: Final = tuple(name for name in SERVED if name.split(".")[0] not in ("erase", "delete"))
"""Points that every day passes several times."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, made_data_folder: Path) -> Path:
    """A data folder that all of these tests use, one after the other, as they leave it."""
    path = tmp_path_factory.mktemp("mill") / "data"
    copy_data_folder(made_data_folder, path)
    return path


@asynccontextmanager
async def reborn_after_death(
    serving: Mill, deaths: list[Kill], lives: Sequence[str] = ()
) -> AsyncIterator[asyncio.Event]:
    """Starts a server again whenever it has died, armed for each of its further `lives`; the event says that
    it was reborn."""
    reborn = asyncio.Event()
    failpoints = iter(lives)

    async def keep_up() -> None:
        async for _ in serving.deaths():
            deaths.append(Kill(time.monotonic()))
            await serving.start(next(failpoints, ""))
            reborn.set()

    keeper = asyncio.create_task(keep_up())
    try:
        yield reborn
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper


@pytest.mark.parametrize("side", ["before", "after"])
async def test_one_death_after_the_other_wherever_something_is_decided(
    side: str, folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    """Each life ends at the next of the points; between them, and after the last, a client has its days."""
    upstream.latency = 0.01
    first, *lives = [f"{what}.{side}=kill" for what in DECISIVE]
    async with mill(folder, upstream.url, first, concurrency="4", chunk_lines="8") as serving:
        life = Life([serving], ledger)
        async with reborn_after_death(serving, life.deaths, lives):
            while len(life.deaths) < len(DECISIVE):
                await life.one_day()
            await life.one_day()
        assert serving.starts == 1 + len(DECISIVE)
        assert await serving.stop() == 0


@pytest.mark.soak
@pytest.mark.parametrize("point", SERVED)
async def test_a_death_at_any_point(point: str, folder: Path, upstream: LedgerUpstream, ledger: Path) -> None:
    upstream.latency = 0.01
    armed = f"{point}=kill"
    async with mill(folder, upstream.url, armed, concurrency="4", chunk_lines="8") as serving:
        life = Life([serving], ledger)
        async with reborn_after_death(serving, life.deaths) as reborn, asyncio.timeout(BOUND):
            output = await life.finish_a_batch()
            if not reborn.is_set():
                await life.cancel_a_batch()
            if not reborn.is_set():
                await life.delete_results(output)
                await reborn.wait()
                await life.until_erased()
        assert serving.starts == 2, f"{point} killed more than once"
        assert await serving.stop() == 0


@pytest.mark.parametrize("passage", [2, *(pytest.param(n, marks=pytest.mark.soak) for n in (1, 3, 5, 8))])
async def test_answers_lost_at_every_commit(
    passage: int, folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    upstream.latency = 0.01
    armed = ",".join(f"{point}=raise@{passage}" for point in COMMITS)
    async with mill(folder, upstream.url, armed, concurrency="4", chunk_lines="8") as serving:
        life = Life([serving], ledger)
        await life.one_day()
        await life.one_day()
        assert serving.starts == 1
        assert await serving.stop() == 0


@pytest.mark.soak
@pytest.mark.parametrize("passage", [2, 3, 5, 8, 13])
@pytest.mark.parametrize("point", SERVED)
async def test_a_death_at_any_passage_of_any_point(
    point: str, passage: int, folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    upstream.latency = 0.01
    armed = f"{point}=kill@{passage}"
    async with mill(folder, upstream.url, armed, concurrency="4", chunk_lines="8") as serving:
        life = Life([serving], ledger)
        async with reborn_after_death(serving, life.deaths) as reborn:
            while not reborn.is_set():
                await life.one_day()
        assert await serving.stop() == 0


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(20))
async def test_deaths_and_lost_answers_anywhere_time_and_again(
    seed: int, folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    """Three lives of a server on one folder, each with lost answers on the way to a death."""
    upstream.latency = 0.01
    chance = random.Random(seed)
    lives = []
    for _ in range(3):
        lost = [f"{point}=raise@{chance.randint(1, 9)}" for point in chance.sample(COMMITS, 5)]
        lives.append(",".join([*lost, f"{chance.choice(DEADLY)}=kill@{chance.randint(1, 9)}"]))
    async with mill(folder, upstream.url, lives[0], concurrency="4", chunk_lines="8") as serving:
        life = Life([serving], ledger)
        async with reborn_after_death(serving, life.deaths, lives[1:]):
            while len(life.deaths) < len(lives):
                await life.one_day()
        assert await serving.stop() == 0
