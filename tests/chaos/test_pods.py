"""Many processes on one database, storage and broker: whatever dies, the batch ends with each line once."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from openai import AsyncOpenAI

from tests.chaos.checker import Kill, broken_promises, in_flight, repeats, results_of
from tests.chaos.fleet import fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import ENDED, KEY, PATIENCE, polling
from tests.chaos.telling import Tell
from tests.chaos.test_outages import waits_for
from tests.chaos.witness import story_of
from tests.postgres import Database
from tests.rabbit import Broker
from tests.rabbit_node import RabbitNode
from tests.upstream import LedgerUpstream

CONCURRENCY = "8"
SETTINGS = {"concurrency": CONCURRENCY, "chunk_lines": "16"}


@pytest.fixture
async def host(broker_node: RabbitNode) -> AsyncIterator[str]:
    """A place on a broker that may be killed."""
    async with broker_node.new_host() as url:
        yield url


@pytest.mark.soak  # the contract is tested on several processes too
async def test_an_sdk_sees_one_server(
    tmp_path: Path, upstream: LedgerUpstream, database: Database, broker: Broker
) -> None:
    lines = fresh_names(200)
    async with fleet(tmp_path, upstream.url, database, broker.url, SETTINGS) as pods:
        async with AsyncOpenAI(base_url=pods.api.url, api_key=KEY) as client:
            assert [model.id async for model in client.models.list()] == upstream.models
            file = await client.files.create(file=("input.jsonl", batch_of(lines)), purpose="batch")
            batch = await client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            while batch.status not in ENDED:
                await asyncio.sleep(PATIENCE)
                batch = await client.batches.retrieve(batch.id)
            assert batch.status == "completed"
            assert batch.output_file_id is not None
            content = await client.files.content(batch.output_file_id)
        assert [result.line for result in results_of(content.content)] == lines
        assert [await one.stop() for one in pods.everybody] == [0, 0, 0]
    assert upstream.tries == len(lines)


@pytest.mark.soak  # as those of the contract's tests are
async def test_roles_apart_do_the_same(
    tmp_path: Path, upstream: LedgerUpstream, ledger: Path, database: Database, broker: Broker
) -> None:
    lines = fresh_names(200)
    roles = ("lead", "plan", "run", "run")
    async with fleet(tmp_path, upstream.url, database, broker.url, SETTINGS, roles) as pods:
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            story = await story_of(pods.api, polls, lines, ledger)
    assert broken_promises(story) == []
    assert story.polls[-1]["status"] == "completed"


@pytest.mark.soak  # a fleet starts without one
async def test_without_a_broker_work_is_found_by_polling(
    tmp_path: Path, upstream: LedgerUpstream, ledger: Path, database: Database
) -> None:
    lines = fresh_names(400)
    upstream.latency = 0.02
    async with fleet(tmp_path, upstream.url, database, None, SETTINGS) as pods:
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            story = await story_of(pods.api, polls, lines, ledger)
    assert broken_promises(story) == []
    assert story.polls[-1]["status"] == "completed"


@pytest.mark.soak  # the storm kills workers, and leaders among them
@pytest.mark.parametrize("leading", [True, False], ids=["leader", "other"])
async def test_the_lines_of_a_killed_worker_run_elsewhere(
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    database: Database,
    broker: Broker,
    leading: bool,
    tell: Tell,
) -> None:
    lines = fresh_names(800)
    upstream.latency = 0.05
    async with fleet(
        tmp_path, upstream.url, database, broker.url, SETTINGS | {"lease": "5s", "beat": "1s"}
    ) as pods:
        leader = await pods.leader()
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            await polls.until_done(300)
            victim = next(worker for worker in pods.workers if (worker is leader) == leading)
            kill = Kill(await victim.kill())
            story = await story_of(pods.api, polls, lines, ledger, [kill])
        assert pods.restarted() == 0
    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)
    flying = in_flight(story, kill)
    assert repeats(story) <= flying
    again = [visit.began for visit in story.visits if visit.number > 1]
    elsewhere = f"elsewhere within {max(again) - kill.at:.1f} s" if again else "none had begun"
    tell(f"1 kill: {flying} lines in flight, {repeats(story)} run twice, {elsewhere}")


@pytest.mark.soak  # the storm does both
@pytest.mark.parametrize("how", ["killed", "wiped"])
async def test_a_broker_that_dies_in_the_middle_costs_time_alone(
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    database: Database,
    host: str,
    broker_node: RabbitNode,
    how: str,
) -> None:
    lines = fresh_names(1000)
    upstream.latency = 0.05
    async with fleet(tmp_path, upstream.url, database, host, SETTINGS) as pods:
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            await polls.until_done(300)
            if how == "killed":
                await broker_node.kill()
                await polls.until_done(600)  # by the work board alone
                await broker_node.start()
            else:
                await broker_node.wipe()
            story = await story_of(pods.api, polls, lines, ledger)
        assert pods.restarted() == 0
        assert [await one.stop() for one in pods.everybody] == [0, 0, 0]
    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)
    assert len(story.visits) == len(lines)


async def test_a_fleet_that_starts_without_its_broker_works_all_the_same(
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    database: Database,
    host: str,
    broker_node: RabbitNode,
    tell: Tell,
) -> None:
    lines = fresh_names(100)
    content = batch_of(lines)
    await broker_node.kill()
    async with fleet(tmp_path, upstream.url, database, host, SETTINGS) as pods:
        file_id = await pods.api.upload(content)
        began = time.monotonic()
        batch_id = await pods.api.create(file_id)
        apart = time.monotonic() - began
        async with polling(pods.api, batch_id) as polls:
            story = await story_of(pods.api, polls, lines, ledger)
        await broker_node.start()
        for one in pods.everybody:
            await one.until_said('"event": "connected"')
        began = time.monotonic()
        await pods.api.create(file_id)
        together = time.monotonic() - began
        assert pods.restarted() == 0
    assert broken_promises(story) == []
    tell(f"POST /v1/batches: {1000 * apart:.0f} ms without the broker, {1000 * together:.0f} ms with it")


@pytest.mark.soak  # test_stops has every kind stop
async def test_a_worker_that_is_told_to_stop_hands_back_what_has_not_begun(
    tmp_path: Path, upstream: LedgerUpstream, ledger: Path, database: Database, broker: Broker
) -> None:
    lines = fresh_names(600)
    upstream.latency = 0.1
    async with fleet(tmp_path, upstream.url, database, broker.url, SETTINGS) as pods:
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            await polls.until_done(100)
            assert await (await pods.leader()).stop() == 0
            story = await story_of(pods.api, polls, lines, ledger)
    assert broken_promises(story) == []
    assert len(story.visits) == len(lines)


async def test_a_route_that_every_worker_has_paused_is_said_by_the_leader(
    tmp_path: Path, upstream: LedgerUpstream, ledger: Path, database: Database, broker: Broker
) -> None:
    lines = fresh_names(400)
    upstream.latency = 0.05
    roles = ("lead,plan", "run", "run")
    async with fleet(tmp_path, upstream.url, database, broker.url, SETTINGS, roles) as pods:
        batch_id = await pods.api.submit(batch_of(lines, {lines[50]: "503x1"}))
        async with polling(pods.api, batch_id) as polls:
            upstream.models_status = 500
            doubted = await pods.api.submit(batch_of(more := fresh_names(40), dict.fromkeys(more, "503x1")))
            await polls.until(waits_for("route paused"))
            upstream.models_status = 200
            story = await story_of(pods.api, polls, lines, ledger)
        async with polling(pods.api, doubted) as others:
            other = await story_of(pods.api, others, more, ledger)
    assert broken_promises(story) == broken_promises(other) == []


async def test_a_worker_answers_health_checks_where_it_is_told_to(
    tmp_path: Path, upstream: LedgerUpstream, database: Database
) -> None:
    async with fleet(
        tmp_path, upstream.url, database, None, SETTINGS | {"health_port": "0"}, ["run"]
    ) as pods:
        said = await pods.workers[0].until_said("answering health checks")
        url = msgspec.json.decode(said, type=dict[str, str])["url"]
        async with aiohttp.ClientSession() as session:
            for check, status in (("/livez", 200), ("/readyz", 200), ("/v1/models", 404)):
                async with session.get(url + check) as answer:
                    assert answer.status == status
