"""Workers and leaders that stand still for longer than their lease: nobody waits for them, and they record
nothing when they go on."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.chaos.checker import Kill, broken_promises, in_flight, repeats, results_of
from tests.chaos.fleet import Fleet, Worker, fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import BOUND, PATIENCE, polling
from tests.chaos.register import Strike, register_of
from tests.chaos.telling import Tell
from tests.chaos.witness import story_of
from tests.postgres import Database
from tests.rabbit import Broker
from tests.upstream import LedgerUpstream

CONCURRENCY: Final = 8
SETTINGS: Final = {"concurrency": str(CONCURRENCY), "chunk_lines": "16"}
YIELDING: Final = SETTINGS | {"yield_after": "100ms"}
"""Workers give chunks back in mid-work."""
CREW: Final = ("lead,plan,run",) * 3
LINES: Final = 1200
FREEZES: Final = 40
STANDSTILL: Final = (0.5, 4.0)
"""Seconds; a lease is one."""
_LAST_RECORD: Final = """
    SELECT max(recorded_at) FROM events WHERE type = 'LinesCompleted' AND strpos(metadata, $1) > 0
"""


async def until(reached: Callable[[], bool]) -> None:
    """Returns when that holds of other processes."""
    async with asyncio.timeout(BOUND):
        while not reached():  # noqa: ASYNC110  # they happen in other processes
            await asyncio.sleep(PATIENCE)


async def armed(pods: Fleet, point: str, leading: bool) -> Worker:
    """A worker that stands still at a failpoint; it leads, or another does."""
    victim, *others = pods.workers
    await victim.stop()
    if leading:
        await asyncio.gather(*(other.stop() for other in others))
        await victim.start(f"{point}=hang@3")
        await until(lambda: victim.leads)
        await asyncio.gather(*(other.start() for other in others))
    else:
        await until(lambda: any(other.leads for other in others))
        await victim.start(f"{point}=hang@3")
    return victim


async def late_records(database: Database, strikes: Sequence[Strike]) -> list[str]:
    """Workers that recorded anything after they had been struck off the register."""
    connection = await asyncpg.connect(database.superuser_url)
    since_epoch = time.time() - time.monotonic()
    try:
        last = {
            strike: await connection.fetchval(_LAST_RECORD, f'"process":"{strike.worker_id}"')
            for strike in strikes
        }
    finally:
        await connection.close()
    return [
        strike.worker_id
        for strike, at in last.items()
        if at is not None and at.timestamp() - since_epoch > strike.gone_at
    ]


@pytest.mark.parametrize(
    ("leading", "point"),
    [
        (False, "flush.before"),
        *(
            pytest.param(leading, point, marks=pytest.mark.soak)
            for leading, point in (
                (True, None),
                (False, None),
                (False, "flush.after"),
                (False, "claim.before"),
                (False, "claim.after"),
                (False, "send.before"),
                (False, "hand_back.before"),
                (True, "flush.before"),
                (True, "flush.after"),
                (True, "hand_out.before"),
                (True, "hand_out.after"),
                (True, "checkpoint.before"),
                (True, "checkpoint.after"),
                (True, "offer.before"),
            )
        ),
    ],
)
async def test_a_worker_that_stands_still_is_replaced_and_records_nothing_when_it_goes_on(
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    database: Database,
    broker: Broker,
    leading: bool,
    point: str | None,
    tell: Tell,
) -> None:
    lines, more = fresh_names(LINES), fresh_names(40)
    upstream.latency = 0.05
    settings = YIELDING if point == "hand_back.before" else SETTINGS
    async with (
        fleet(tmp_path, upstream.url, database, broker.url, settings, CREW) as pods,
        register_of(database) as register,
    ):
        leader = await pods.leader()
        victim = next(worker for worker in pods.workers if (worker is leader) == leading)
        if point is not None:
            victim = await armed(pods, point, leading)
        others = [worker for worker in pods.workers if worker is not victim]
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            if point is None:
                await polls.until_done(100)
                victim.freeze()
            await until(lambda: victim.stopped)
            frozen = Kill(time.monotonic(), who=victim.name)
            await until(lambda: bool(register.strikes(since=frozen.at)))
            await until(lambda: any(other.leads for other in others))
            meanwhile = await pods.api.submit(batch_of(more))
            async with polling(pods.api, meanwhile) as others_polls:
                other = await story_of(pods.api, others_polls, more, ledger)
            frozen.thawed = time.monotonic()
            victim.thaw()
            await victim.until_said("declared dead")
            if leading:
                await victim.until_said("leadership ended")
            story = await story_of(pods.api, polls, lines, ledger, [frozen])
        strikes = register.strikes(since=frozen.at)
        assert await late_records(database, strikes) == []
        assert pods.restarted() == (0 if point is None else len(CREW) if leading else 1)
        assert [await one.stop() for one in pods.everybody] == [0] * (1 + len(CREW))
    assert broken_promises(story) == broken_promises(other) == []
    assert len(results_of(story.output)) == len(lines)
    flying, again = in_flight(story, frozen), repeats(story)
    tell(f"1 freeze: {flying} lines in flight, {again} run twice")
    assert again <= flying + CONCURRENCY  # each slot may finish the send that it was in


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(5))
async def test_workers_that_stand_still_at_any_moment_time_and_again(
    seed: int,
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    database: Database,
    broker: Broker,
    tell: Tell,
) -> None:
    chance = random.Random(seed)
    lines = fresh_names(FREEZES * 300)
    upstream.latency = 0.05
    freezes: list[Kill] = []
    async with (
        fleet(tmp_path, upstream.url, database, broker.url, SETTINGS, CREW) as pods,
        register_of(database) as register,
    ):
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            await polls.until_done(1)
            for _ in range(FREEZES):
                await asyncio.sleep(chance.uniform(0.0, 1.0))
                victim = await pods.leader() if chance.random() < 0.5 else chance.choice(pods.workers)
                victim.freeze()
                freezes.append(frozen := Kill(time.monotonic(), who=victim.name))
                await asyncio.sleep(chance.uniform(*STANDSTILL))
                frozen.thawed = time.monotonic()
                victim.thaw()
            await polls.until_ended(600)
            story = await story_of(pods.api, polls, lines, ledger, freezes)
        assert await late_records(database, register.strikes()) == []
        assert pods.restarted() == 0
        assert [await one.stop() for one in pods.everybody] == [0] * (1 + len(CREW))
    flying = sum(in_flight(story, freeze) for freeze in freezes)
    struck = len(register.strikes())
    tell(f"{FREEZES} freezes, {struck} noticed: {flying} lines in flight, {repeats(story)} run twice")
    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)
