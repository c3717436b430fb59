"""How many appends the log takes, beside how many plain commits the same database takes in the same run.

    python -m bench.appends [--seconds 60] [--writers 16] [--database OWNER_URL --login LOGIN_URL]

Half of the calls append one event on an expected version; the others flush one to four claims to batches
that all writers share, in any order, and now and then revoke all claims of a batch. Three phases, each of
`seconds` / 3: plain commits of one row; appends; appends while a transaction holds an old snapshot open. A
reader follows all the while and checks that positions are dense and in commit order.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import asyncpg
import msgspec

from cli.embedded.data_folder import DataFolder
from cli.embedded.postgres import LOGIN, EmbeddedPostgres
from events.batch import BatchExpiryReached
from events.catalog import new_event
from events.log import Board, Leadership
from events.migrate import migrate
from events.work import Claim
from tests.events.stage import PROJECT, Stage, flush_of, hand_out_one, open_stage

CHUNK = 256
LINES = 1_000_000_000
"""More than anybody flushes in any run."""
BATCHES = 8
REVOKE_EVERY = 100


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
    """Decides on a stream of its own, and flushes claims to batches that all writers share."""

    def __init__(self, stage: Stage, dice: Random, batches: Sequence[str], leadership: Leadership) -> None:
        self._stage = stage
        self._dice = dice
        self._batches = batches
        self._leadership = leadership
        self._held: list[tuple[Claim, list[int]]] = []
        self._stream = f"batch_of_{leadership.name}"
        self._version = 0
        self._turn = 0

    async def step(self) -> None:
        self._turn += 1
        if self._turn % 2:
            event = new_event(self._stream, PROJECT, BatchExpiryReached())
            await self._stage.log.append([event], expect={self._stream: self._version})
            self._version += 1
        elif self._turn % REVOKE_EVERY == 0:
            batch_id = self._dice.choice(self._batches)
            await self._stage.log.append(
                [new_event(batch_id, PROJECT, BatchExpiryReached())],
                board=Board(batch_id, PROJECT, "running", revoke=True),
            )
        else:
            await self._flush()

    async def _flush(self) -> None:
        while len(self._held) < 4:
            await self._claim()
        chosen = self._dice.sample(self._held, self._dice.randint(1, 4))
        flushes = [flush_of(claim, [lines.pop()]) for claim, lines in chosen]
        answers = await self._stage.log.flush(flushes)
        for held, answer in zip(chosen, answers, strict=True):
            if answer == "lost" or not held[1]:
                self._held.remove(held)

    async def _claim(self) -> None:
        [batch] = await self._stage.board.open_batches([self._dice.choice(self._batches)])
        claim_id = await hand_out_one(self._stage.board, self._leadership, batch, CHUNK)
        claim = claim_id and await self._stage.board.claim(claim_id, self._leadership.name)
        if claim:
            self._held.append((claim, claim.open_lines()))


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

        batches = [await stage.running_batch(LINES) for _ in range(BATCHES)]
        names = [await stage.worker() for _ in range(writers)]
        steps = [_Writer(stage, Random(name), batches, await stage.lead(name)).step for name in names]
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
