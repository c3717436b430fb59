"""One of three workers is killed in the middle of a large batch: its lines run elsewhere within seconds."""

from pathlib import Path
from typing import Final

import pytest

from tests.chaos.checker import Kill, broken_promises, in_flight, repeats, results_of
from tests.chaos.fleet import fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import polling
from tests.chaos.telling import Tell
from tests.chaos.witness import story_of, with_models
from tests.postgres import Database
from tests.rabbit import Broker
from tests.upstream import LedgerUpstream

LINES: Final = 20_000
KILLED_AT: Final = 6_400
WITHIN: Final = 10.0
"""Seconds in which what was under way at a kill runs again."""
SETTINGS: Final = {"concurrency": "16", "lease": "5s", "beat": "1s", "flush_interval": "250ms"}
"""The last three are the program's own."""


@pytest.mark.soak
@pytest.mark.parametrize("leading", [True, False], ids=["leader", "other"])
async def test_the_lines_of_one_of_three_workers_run_elsewhere(
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    database: Database,
    broker: Broker,
    leading: bool,
    tell: Tell,
) -> None:
    upstream.latency = 0.1
    lines = fresh_names(LINES)
    roles = ["lead,plan,run"] * 3
    async with fleet(tmp_path, upstream.url, database, broker.url, SETTINGS, roles) as pods:
        leader = await pods.leader()
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            await polls.until(lambda b: b["request_counts"]["completed"] >= KILLED_AT, within=300)
            victim = next(worker for worker in pods.workers if (worker is leader) == leading)
            kill = Kill(await victim.kill(), who=victim.name)
            await polls.until_ended(within=300)
            story = await story_of(pods.api, polls, lines, ledger, [kill])
        story = await with_models(story, database.app_url, pods.api.files)
        assert pods.restarted() == 0
    again = [visit.began - kill.at for visit in story.visits if visit.number > 1]
    tell(
        f"1 of 3 killed at {KILLED_AT:,} of {LINES:,} lines: {in_flight(story, kill)} in flight, "
        f"{repeats(story)} run twice, elsewhere {min(again):.1f} to {max(again):.1f} s later, "
        f"{LINES - len(results_of(story.output))} missing"
    )
    assert broken_promises(story) == []
    assert len(results_of(story.output)) == LINES
    assert repeats(story) <= in_flight(story, kill)
    assert max(again) <= WITHIN
