"""How many appends the log takes, beside how many plain commits the same database takes in the same run.

    python -m bench.appends [--seconds 60] [--writers 16] [--database OWNER_URL --login LOGIN_URL]

Half of the calls append one event on an expected version, half flush a line of a claim. Three phases, each
of `seconds` / 3: plain commits of one row; appends; appends while a transaction holds an old snapshot open.
A reader follows all the while and checks that positions are dense and in commit order.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec

from cli.data_folder import DataFolder
from cli.embedded_postgres import LOGIN, EmbeddedPostgres
from events.batch import BatchExpiryReached
from events.catalog import new_event
from events.log import Leadership
from events.migrate import migrate
from events.work import Claim
from tests.events.stage import PROJECT, Stage, flush_of, open_stage

CHUNK = 256
LINES = 1_000_000
"""More than one writer flushes in any run."""


class Figures(msgspec.Struct, frozen=True):
    """What was counted; rates are a second. A deadlock or a serialization error is a defect."""

    writers: int
    commits_alone: float
    commits: float
    appends: float
    appends_beside_snapshot: float
    events: int
    deadlocks: int
    serialization_errors: int

    def __str__(self) -> str:
        return (
            f"{self.writers} writers: {self.commits:,.0f} commits/s ({self.commits_alone:,.0f} by one), "
            f"{self.appends:,.0f} appends/s, {self.appends_beside_snapshot:,.0f} beside an open snapshot; "
            f"{self.events:,} events read densely and in order, {self.deadlocks} deadlocks, "
            f"{self.serialization_errors} serialization errors"
        )


class _Writer:
    """Appends and flushes in turn on a batch of its own."""

    def __init__(self, stage: Stage, worker: str, batch_id: str, leadership: Leadership) -> None:
        self._stage = stage
        self._worker = worker
        self._batch_id = batch_id
        self._leadership = leadership
        self._claim: Claim | None = None
        self._lines: list[int] = []
        self._version = 2
        self._turn = 0

    @classmethod
    async def make(cls, stage: Stage) -> "_Writer":
        worker = await stage.worker()
        return cls(stage, worker, await stage.running_batch(LINES), await stage.lead(worker))

    async def step(self) -> None:
        self._turn += 1
        if self._turn % 2:
            event = new_event(self._batch_id, PROJECT, BatchExpiryReached())
            await self._stage.log.append([event], expect={self._batch_id: self._version})
        else:
            claim = await self._held()
            assert await self._stage.log.flush([flush_of(claim, [self._lines.pop()])]) == ["recorded"]
        self._version += 1

    async def _held(self) -> Claim:
        if self._claim is None or not self._lines:
            [batch] = await self._stage.board.open_batches([self._batch_id])
            claim_id = await self._stage.board.hand_out(self._leadership, batch, CHUNK)
            assert claim_id is not None
            self._claim = await self._stage.board.claim(claim_id, self._worker)
            assert self._claim is not None
            self._lines = self._claim.open_lines()
        return self._claim


class _Reader:
    """Follows the log; every position must be the next one."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.position = 0
        self._versions = Counter[str]()

    async def read(self) -> None:
        while events := await self._stage.log.read(after=self.position, limit=1000):
            for event in events:
                self._versions[event.stream_id] += 1
                if (event.position, event.version) != (self.position + 1, self._versions[event.stream_id]):
                    raise AssertionError(f"position {event.position} came after {self.position}")
                self.position = event.position

    async def follow(self) -> None:
        while True:
            await self.read()
            await asyncio.sleep(0.05)


async def measure(owner_url: str, login_url: str, *, writers: int, seconds: float) -> Figures:
    """Runs the three phases on a migrated database and returns what was counted."""
    async with (
        open_stage(login_url, connections=2 * writers, patience=60.0) as stage,
        _owner(owner_url) as owner,
        _owner(owner_url) as snapshot,
    ):
        await owner.execute("CREATE TABLE plain (at timestamptz)")
        pools = [await asyncpg.connect(owner_url) for _ in range(writers)]
        commits_alone = (await _repeat([_commit(pools[0])], seconds / 6)).rate
        commits = (await _repeat([_commit(pool) for pool in pools], seconds / 6)).rate
        for pool in pools:
            await pool.close()
        await owner.execute("DROP TABLE plain")

        steps = [(await _Writer.make(stage)).step for _ in range(writers)]
        reader = _Reader(stage)
        following = asyncio.create_task(reader.follow())
        appends = await _repeat(steps, seconds / 3)
        async with snapshot.transaction(isolation="repeatable_read"):
            await snapshot.fetchval("SELECT count(*) FROM events")
            beside = await _repeat(steps, seconds / 3)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await reader.read()
        if reader.position != await stage.log.head():
            raise AssertionError("the reader did not reach the head of the log")
        return Figures(
            writers,
            commits_alone,
            commits,
            appends.rate,
            beside.rate,
            reader.position,
            appends.deadlocks + beside.deadlocks,
            appends.serialization_errors + beside.serialization_errors,
        )


def _commit(connection: asyncpg.Connection) -> Callable[[], Awaitable[None]]:
    async def commit() -> None:
        await connection.fetchval("INSERT INTO plain VALUES (clock_timestamp()) RETURNING at")

    return commit


class _Phase(msgspec.Struct):
    """What became of the steps of one phase; `rate` is a second."""

    done: int = 0
    deadlocks: int = 0
    serialization_errors: int = 0
    rate: float = 0.0


async def _repeat(steps: Sequence[Callable[[], Awaitable[None]]], seconds: float) -> _Phase:
    """Repeats each step for so long, all at once."""
    began = time.monotonic()
    phase = _Phase()

    async def repeat(step: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() - began < seconds:
            try:
                await step()
                phase.done += 1
            except asyncpg.DeadlockDetectedError:
                phase.deadlocks += 1
            except asyncpg.SerializationError:
                phase.serialization_errors += 1

    async with asyncio.TaskGroup() as group:
        for step in steps:
            group.create_task(repeat(step))
    phase.rate = phase.done / (time.monotonic() - began)
    return phase


@asynccontextmanager
async def _owner(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--database", help="the owner's URL of a fresh database; without it an embedded one")
    parser.add_argument("--login", help="the application's URL of the same database")
    given = parser.parse_args()
    if given.database:
        login = given.login or given.database
        print(await measure(given.database, login, writers=given.writers, seconds=given.seconds))
        return
    with (
        tempfile.TemporaryDirectory(prefix="batchmill-bench-") as folder,
        DataFolder.open(Path(folder)) as data,
    ):
        async with EmbeddedPostgres(data) as urls:
            await migrate(urls.owner, LOGIN)
            print(await measure(urls.owner, urls.login, writers=given.writers, seconds=given.seconds))


if __name__ == "__main__":
    asyncio.run(main())
