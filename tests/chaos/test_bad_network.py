"""All connections of all processes break and stall, time and again: no line is lost, and nobody restarts.

A seed decides what the weather does; `BATCHMILL_TEST_SEED` gives it. When it comes is up to the machine.
"""

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.checker import broken_promises, lost_answers, repeats, results_of
from tests.chaos.fleet import fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import polling
from tests.chaos.network import network, weather
from tests.chaos.register import register_of
from tests.chaos.seed import SEED
from tests.chaos.telling import Tell
from tests.chaos.witness import story_of
from tests.postgres import Database
from tests.rabbit import Broker
from tests.upstream import LedgerUpstream

PROCESSES: Final = ("api", "worker-0", "worker-1", "worker-2")
SETTINGS: Final = {
    "concurrency": "8",
    "chunk_lines": "16",
    "connect_timeout": "2s",
    "line_timeout": "4s",
    "attempts": "9",
}
GRACE: Final = 20.0
"""Seconds from the word to stop to the end: a drain of five, and what the chart adds to it."""
SOAK: Final = (pytest.mark.soak, pytest.mark.timeout(3600))


@pytest.mark.parametrize(
    ("seed", "lines", "longest", "within"),
    [
        pytest.param(SEED, 2_000, 6.0, 180.0, marks=SOAK, id=f"short-{SEED}"),
        *(pytest.param(SEED + n, 20_000, 20.0, 3000.0, marks=SOAK, id=f"long-{SEED + n}") for n in range(3)),
    ],
)
async def test_connections_that_are_cut_and_stall_at_random(
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    database: Database,
    broker: Broker,
    seed: int,
    lines: int,
    longest: float,
    within: float,
    tell: Tell,
) -> None:
    blows = weather(random.Random(seed), PROCESSES, (1.0, longest))
    upstream.latency = 0.05
    names = fresh_names(lines)
    async with (
        network(PROCESSES, database, broker.url, upstream.url) as net,
        fleet(
            tmp_path, upstream.url, database, broker.url, SETTINGS, ["lead,plan,run"] * 3, net.settings
        ) as pods,
        register_of(database) as register,
    ):
        batch_id = await pods.api.submit(batch_of(names))
        async with polling(pods.api, batch_id) as polls:
            async with net.under(blows):
                await polls.until_ended(within)
            kills = register.kills(pods.workers)
            story = replace(await story_of(pods.api, polls, names, ledger, kills), troubles=net.troubles)
        assert pods.restarted() == 0
        assert [await one.stop() for one in pods.everybody] == [0] * len(PROCESSES)
    tell(
        f"seed {seed}: {len(net.blows)} blows; workers struck off {len(kills)} times, so "
        f"{repeats(story)} lines run again, and {lost_answers(story)} more for answers that were lost"
    )
    assert broken_promises(story) == []
    assert len(results_of(story.output)) == lines


@pytest.mark.soak
async def test_a_process_that_is_told_to_stop_while_nothing_comes_through_stops(
    tmp_path: Path, upstream: LedgerUpstream, database: Database, broker: Broker
) -> None:
    upstream.latency = 0.05
    async with (
        network(PROCESSES[:2], database, broker.url, upstream.url) as net,
        fleet(
            tmp_path, upstream.url, database, broker.url, SETTINGS, ["lead,plan,run"], net.settings
        ) as pods,
    ):
        batch_id = await pods.api.submit(batch_of(fresh_names(1000)))
        async with polling(pods.api, batch_id) as polls:
            await polls.until_done(100)
        net.stall()
        async with asyncio.timeout(GRACE):
            assert await asyncio.gather(*(one.stop() for one in pods.everybody)) == [0, 0]
