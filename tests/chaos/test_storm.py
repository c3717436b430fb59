"""A storm of kills over many processes, their broker and their database: no line is lost, and none that was
recorded runs again.

A seed decides what strikes whom and when. It is in the name of the test; `BATCHMILL_TEST_SEED` gives it (the
first of ten in the long run, of which the odd ones encrypt what is stored).
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from engine.audit.progress import Report
from tests.chaos.checker import Story, broken_promises, in_flight, repeats, results_of
from tests.chaos.contents import encrypting
from tests.chaos.fleet import AUDIT_KEY, fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import polling
from tests.chaos.seed import SEED
from tests.chaos.storm import LOOK, PACE, Plan, Service, Storm, plan_of
from tests.chaos.telling import Tell
from tests.chaos.verified import verified
from tests.chaos.witness import story_of, with_models
from tests.postgres_node import PostgresNode, running_postgres
from tests.rabbit_node import RabbitNode, installed_server, running_node
from tests.upstream import LedgerUpstream

WORKERS: Final = 4
CONCURRENCY: Final = 16
LATENCY: Final = 0.2
LINES: Final = 20_000
LONGEST: Final = 300
"""Kills after which a long storm is over, whatever has become of the batch."""
PATIENCE: Final = PACE * LONGEST
"""Seconds in which a batch has ended."""
SETTINGS: Final = {"lease": "5s", "beat": "1s", "flush_interval": "250ms"}
"""The program's own."""
NAMES: Final = ("api", *(f"worker-{n}" for n in range(WORKERS)))


def seconds_undisturbed(lines: int, concurrency: int = CONCURRENCY) -> float:
    """What a batch takes at least when nobody dies."""
    return lines * LATENCY / (WORKERS * concurrency)


def test_a_storm_is_its_seed() -> None:
    services = [*Service, Service.BROKER_KILLED]
    plans = [plan_of(seed, NAMES, services, kills=40, over=range(3, 28)) for seed in range(100)]
    assert plans[1] == plan_of(1, NAMES, services, kills=40, over=range(3, 28)) != plans[2]
    for plan in plans:
        assert sorted(what for what, _ in plan.services.values()) == sorted(services)
        assert all(3 <= n < 28 for n in plan.services)
        assert set(plan.victims) == set(NAMES)


@pytest.fixture
async def broker_of_its_own() -> AsyncIterator[RabbitNode]:
    async with running_node(installed_server()) as node:
        yield node


@pytest.fixture
async def postgres_of_its_own() -> AsyncIterator[PostgresNode]:
    async with running_postgres() as node:
        yield node


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [SEED])
async def test_a_short_storm(
    seed: int,
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    broker_of_its_own: RabbitNode,
    postgres_of_its_own: PostgresNode,
    tell: Tell,
) -> None:
    plan = plan_of(seed, NAMES, list(Service), kills=6, over=range(1, 5), pace=2 * PACE, moment=LOOK)
    lines, concurrency = fresh_names(1600), CONCURRENCY // 4  # as long as the kills take, and little to do
    storm, story, took, audit = await weathered(
        plan, lines, tmp_path, upstream, ledger, broker_of_its_own, postgres_of_its_own, concurrency
    )
    tell(report(plan, storm, story, took, concurrency))
    assert broken_promises(story) == []
    assert audit.defects == []
    assert audit.sealed > 0
    assert storm.unbidden == []
    assert set(storm.struck) >= {"worker", *Service}
    # So few lines may be planned, and their files written, before anybody is struck; not so in a long storm.
    assert storm.phases["running"] > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEED, SEED + 10))
async def test_a_long_storm(
    seed: int,
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    broker_of_its_own: RabbitNode,
    postgres_of_its_own: PostgresNode,
    tell: Tell,
) -> None:
    assert seconds_undisturbed(LINES) >= 60
    plan = plan_of(seed, NAMES, [*Service, Service.BROKER_KILLED], kills=LONGEST, over=range(3, 28))
    lines, encrypted = fresh_names(LINES), bool(seed % 2)
    storm, story, took, audit = await weathered(
        plan,
        lines,
        tmp_path,
        upstream,
        ledger,
        broker_of_its_own,
        postgres_of_its_own,
        encrypted=encrypted,
    )
    tell(report(plan, storm, story, took))
    assert broken_promises(story) == []
    assert audit.defects == []
    assert audit.sealed > 0
    assert storm.unbidden == []
    assert storm.struck["api"] + storm.struck["worker"] >= 20
    assert storm.struck[Service.BROKER_KILLED] == 2
    assert {"planning", "running", "finalizing"} <= set(storm.phases)
    assert (tmp_path / "files" / "encrypted").exists() == encrypted


async def weathered(
    plan: Plan,
    lines: Sequence[str],
    folder: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    broker: RabbitNode,
    postgres: PostgresNode,
    concurrency: int = CONCURRENCY,
    *,
    encrypted: bool = False,
) -> tuple[Storm, Story, float, Report]:
    """What was seen of a batch that went through a storm, how many seconds it took, and what a verification
    of the log finds."""
    upstream.latency = LATENCY
    roles = ["lead,plan,run"] * WORKERS
    settings = SETTINGS | {"concurrency": str(concurrency)} | (encrypting(folder) if encrypted else {})
    async with (
        broker.new_host() as host,
        fleet(folder, upstream.url, postgres.database, host, settings, roles) as pods,
    ):
        storm = Storm(plan, pods, broker, postgres)
        file_id = await pods.api.upload(batch_of(lines))
        batch_id = await pods.api.create(file_id)
        async with polling(pods.api, batch_id) as polls:
            took = await storm.rage(polls, within=PATIENCE)
            story = await story_of(pods.api, polls, lines, ledger, storm.kills)
        story = await with_models(story, postgres.database.app_url, pods.api.files)
        audit = await verified(postgres.database.app_url, pods.api.files, [AUDIT_KEY.public])
    return storm, story, took, audit


def report(plan: Plan, storm: Storm, story: Story, took: float, concurrency: int = CONCURRENCY) -> str:
    """What happened, in a few lines."""
    recorded_run_again = sum(v.began > story.recorded.get(v.line, float("inf")) for v in story.visits)
    lost = len(story.lines) - len(results_of(story.output)) - len(results_of(story.errors))
    return (
        f"seed {plan.seed}: {len(story.lines):,} lines in {took:.0f} s "
        f"(undisturbed at least {seconds_undisturbed(len(story.lines), concurrency):.0f} s); "
        f"{', '.join(f'{n} x {what}' for what, n in sorted(storm.struck.items()))}; "
        f"phases {dict(storm.phases)}; {storm.gave_up} starts given up\n"
        f"  in flight at the kills {sum(in_flight(story, kill) for kill in story.kills)}, "
        f"run twice {repeats(story)}, recorded run again {recorded_run_again}, lost {lost}, "
        f"errors {len(results_of(story.errors))}"
    )
