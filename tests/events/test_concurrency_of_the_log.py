"""Many writers at once: seeded histories of appends, flushes, revocations and repetitions, and a reader.

Whatever the order: no deadlock, no serialization error, no gap, no late arrival, each line at most one
outcome, and what was answered is what is in the log.
"""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

import pytest

from bench.appends import measure
from events.batch import BatchExpiryReached
from events.catalog import new_event
from events.errors import DatabaseUnavailable, VersionConflict
from events.event import RecordedEvent
from events.log import Flush
from events.outcomes.lines import unpack_facts
from events.rebuild import rebuild
from events.rebuild_board import rebuild_board
from events.work import Claim
from tests.events.proxy import proxy_to
from tests.events.stage import PROJECT, Stage, flush_of, hand_out_one, open_stage
from tests.postgres import Database

BATCHES, LINES, CHUNK = 6, 64, 4


class Reader:
    """Follows the log and checks each position as it comes."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.seen: list[RecordedEvent] = []

    async def read(self) -> None:
        """Reads what is there and has not been read."""
        while events := await self._stage.log.read(after=len(self.seen), limit=37):
            for event in events:
                assert event.position == len(self.seen) + 1
                self.seen.append(event)

    async def follow(self, finished: asyncio.Event) -> None:
        while not finished.is_set():
            await self.read()
            await asyncio.sleep(0)
        await self.read()


class Writer:
    """One worker: claims chunks and flushes, repeats itself, hands back; sometimes somebody decides."""

    def __init__(self, stage: Stage, dice: random.Random, batches: list[str]) -> None:
        self._stage = stage
        self._dice = dice
        self._batches = batches
        self._worker = f"w-{dice.getrandbits(64):x}"
        self._held: list[Claim] = []
        self._sent: list[Flush] = []
        self.recorded: Counter[tuple[str, int]] = Counter()

    async def run(self, steps: int) -> None:
        await self._stage.board.register(self._worker)
        for _ in range(steps):
            await self._dice.choices(
                [self._claim, self._flush, self._repeat, self._decide, self._void, self._hand_back],
                weights=[30, 45, 10, 8, 3, 4],
            )[0]()

    async def _claim(self) -> None:
        if not await self._stage.board.beat(self._worker):
            self._held.clear()
            await self._stage.board.register(self._worker)
        await self._hand_out()
        for work in await self._stage.board.free_claims(3):
            most = self._dice.choice([None, 1, CHUNK // 2])
            claim = await self._stage.board.claim(work.claim_id, self._worker, most)
            if claim is not None:
                self._held.append(claim)

    async def _hand_out(self) -> None:
        batch = self._dice.choice(await self._stage.board.open_batches() or [None])
        if batch is not None and batch.next_line < batch.total:
            leadership = await self._stage.lead(self._worker)
            await hand_out_one(
                self._stage.board, leadership, batch, min(CHUNK, batch.total - batch.next_line)
            )

    async def _flush(self) -> None:
        claims = self._dice.sample(self._held, min(len(self._held), self._dice.randint(1, 4)))
        flushes = []
        for claim in claims:
            self._held.remove(claim)
            lines = claim.open_lines()
            flushes.append(flush_of(claim, self._dice.sample(lines, self._dice.randint(1, len(lines)))))
        await self._send(flushes)

    async def _send(self, flushes: list[Flush]) -> None:
        answers = await self._stage.log.flush(flushes)
        for flush, answer in zip(flushes, answers, strict=True):
            if answer == "recorded" and flush not in self._sent:
                for line in unpack_facts(flush.event.lines or b"").lines:
                    self.recorded[flush.event.stream_id, line] += 1
                self._sent.append(flush)

    async def _repeat(self) -> None:
        if self._sent:
            again = self._dice.sample(self._sent, min(len(self._sent), 3))
            assert await self._stage.log.flush(again) == ["recorded"] * len(again)

    async def _decide(self) -> None:
        batch_id = self._dice.choice(self._batches)
        event = new_event(batch_id, PROJECT, BatchExpiryReached())
        version = len(await self._stage.log.stream(batch_id))
        with suppress(VersionConflict):
            await self._stage.log.append([event], expect={batch_id: version})
        if self._dice.random() < 0.1:
            await self._stage.finalize(batch_id)

    async def _void(self) -> None:
        await self._stage.board.void_claims(self._dice.choice([None, [self._worker]]))

    async def _hand_back(self) -> None:
        await self._stage.board.hand_back(self._held)
        self._held.clear()


@pytest.mark.parametrize(
    ("seed", "rebuilds"),
    [
        (0, 0),
        (1, 0),
        (4, 3),
        *(pytest.param(*each, marks=pytest.mark.soak) for each in ((2, 0), (3, 0), (5, 3))),
    ],
)
async def test_whatever_the_order_every_line_has_at_most_one_outcome(
    database: Database, seed: int, rebuilds: int
) -> None:
    async with open_stage(database.app_url, connections=12, patience=30.0) as stage:
        dice = random.Random(seed)
        batches = [await stage.running_batch(LINES) for _ in range(BATCHES)]
        writers = [Writer(stage, random.Random(dice.getrandbits(64)), batches) for _ in range(10)]
        reader, finished = Reader(stage), asyncio.Event()
        async with asyncio.TaskGroup() as following:
            following.create_task(reader.follow(finished))
            async with asyncio.TaskGroup() as writing:
                for writer in writers:
                    writing.create_task(writer.run(steps=80))
                for _ in range(rebuilds):
                    await rebuild(database.app_url)
                    await rebuild_board(database.app_url)
            finished.set()

        versions = Counter[str]()
        for event in reader.seen:
            versions[event.stream_id] += 1
            assert event.version == versions[event.stream_id]
        assert reader.seen == await stage.log.read(after=0, limit=100_000)
        moments = [event.recorded_at for event in reader.seen]
        assert moments == sorted(moments)

        in_the_log: Counter[tuple[str, int]] = Counter()
        for batch_id in batches:
            for _, _, column in await stage.log.facts(batch_id, limit=10_000):
                in_the_log.update((batch_id, line) for line in unpack_facts(column).lines)
        assert in_the_log == sum((writer.recorded for writer in writers), Counter())
        assert set(in_the_log.values()) == {1}
        for batch_id in batches:
            types = [event.type for event in reader.seen if event.stream_id == batch_id]
            if "BatchFinalizing" in types:
                assert "LinesCompleted" not in types[types.index("BatchFinalizing") :]


@asynccontextmanager
async def frozen_client(url: str, claim: Claim) -> AsyncIterator[Process]:
    """A process of its own that flushes the first line of a claim when told to."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.events.flushing_client", url, str(claim.id), str(claim.token)),
        *(claim.batch_id, str(claim.lines)),
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize(("side", "answer"), [("call", b"lost\n"), ("answer", b"recorded\n")])
async def test_a_client_frozen_in_its_flush_holds_up_nobody(
    database: Database, stage: Stage, side: Literal["call", "answer"], answer: bytes
) -> None:
    batch_id = await stage.running_batch(lines=8)
    mine, frozen = await stage.claims(batch_id, [0, 4, 8])
    async with proxy_to(database.app_url) as proxy, frozen_client(proxy.url, frozen) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert await client.stdout.readline() == b"ready\n"
        reached = asyncio.Event()

        def freeze() -> Literal["pass"]:
            os.kill(client.pid, signal.SIGSTOP)
            reached.set()
            return "pass"

        if side == "call":
            # The client is stopped before it can send: its call is lost to it for as long as it sleeps.
            os.kill(client.pid, signal.SIGSTOP)
            client.stdin.write(b"go\n")
        else:
            proxy.on_next("answer", freeze)
            client.stdin.write(b"go\n")
            await reached.wait()
        await stage.log.flush([flush_of(mine, [0, 1])])
        await stage.cancel(batch_id)
        await stage.board.void_claims(None)
        completed = (await stage.batch(batch_id)).completed
        assert completed == (2 if side == "call" else 3)
        os.kill(client.pid, signal.SIGCONT)
        assert await client.stdout.readline() == answer


async def test_a_call_whose_last_bytes_never_come_holds_up_nobody_for_good(
    database: Database, stage: Stage
) -> None:
    """All of it has run but the commit. A server before 17 notices when the connection ends."""
    async with stage.database.reading() as connection:
        notices = connection.get_server_version().major >= 17
    batch_id = await stage.running_batch(lines=8)
    mine, held = await stage.claims(batch_id, [0, 4, 8])
    async with proxy_to(database.app_url) as proxy:
        url = f"{proxy.url}&transaction_timeout=1s" if notices else proxy.url
        async with open_stage(url, connections=2) as silent:
            await silent.log.flush([flush_of(held, [4])])
            stalled = proxy.stall_next_call()
            flushing = asyncio.create_task(silent.log.flush([flush_of(held, [5])]))
            await stalled.wait()
            if not notices:
                await proxy.close()
            await stage.log.flush([flush_of(mine, [0])])
            with pytest.raises(DatabaseUnavailable):
                await flushing
    assert (await stage.batch(batch_id)).completed == 2


async def test_sixteen_writers_and_an_old_snapshot_meet_no_deadlock_and_leave_no_gap(
    database: Database,
) -> None:
    figures = await measure(database.owner_url, database.app_url, writers=16, seconds=1)
    print(figures)
    assert figures.events > 0
    assert (figures.deadlocks, figures.serialization_errors) == (0, 0)
