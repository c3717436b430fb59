"""A database that goes away and comes back: every process lives through it, and says so meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
import pytest

from tests.chaos.checker import broken_promises, results_of
from tests.chaos.fleet import fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import BOUND, PATIENCE, Json, Mill, Refused, polling
from tests.chaos.register import register_of
from tests.chaos.telling import Tell
from tests.chaos.test_outages import cut_connections
from tests.chaos.witness import story_of
from tests.postgres import Database
from tests.postgres_node import PostgresNode, running_postgres
from tests.rabbit import Broker
from tests.rabbit_node import RabbitNode
from tests.upstream import LedgerUpstream

SETTINGS: Final = {"concurrency": "8", "chunk_lines": "16"}
LINES: Final = 800
NOES: Final = 30
"""How often the API says that it is not ready before an outage ends."""


async def ready(mill: Mill) -> bool:
    """Whether a process says that it is ready."""
    async with (
        aiohttp.ClientSession(mill.url.removesuffix("/v1")) as session,
        session.get("/readyz", timeout=aiohttp.ClientTimeout(5)) as answer,
    ):
        assert answer.status in (200, 503), await answer.text()
        return answer.status == 200


async def until_it_says(mill: Mill, yes: bool, times: int = 1) -> None:
    """Returns when a process has said so often in a row whether it is ready."""
    said = 0
    async with asyncio.timeout(BOUND):
        while said < times:
            said = said + 1 if await ready(mill) == yes else 0
            await asyncio.sleep(PATIENCE)


@pytest.fixture
async def node() -> AsyncIterator[PostgresNode]:
    """A server of this test's own."""
    async with running_postgres() as running:
        yield running


def done(batch: Json) -> int:
    """How many lines have an outcome."""
    return int(batch["request_counts"]["completed"]) + int(batch["request_counts"]["failed"])


async def settle(database: Database, statement: str) -> None:
    """Has an operator change the server's settings, for every session that there is."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        await connection.execute(statement)
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


@asynccontextmanager
async def outage(node: PostgresNode, how: str) -> AsyncIterator[None]:
    """The server is away, in one of these ways, while the block runs."""
    match how:
        case "read-only":
            await settle(node.database, "ALTER SYSTEM SET default_transaction_read_only = on")
            yield
            await settle(node.database, "ALTER SYSTEM RESET default_transaction_read_only")
        case "stopped":
            await node.stop()
            yield
            await node.start()
        case _:
            await node.kill()
            yield
            await node.start()


@pytest.mark.parametrize(
    "how", ["read-only", *(pytest.param(each, marks=pytest.mark.soak) for each in ("killed", "stopped"))]
)
async def test_a_database_that_is_away_for_a_while(
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    node: PostgresNode,
    broker: Broker,
    how: str,
    tell: Tell,
) -> None:
    lines, more = fresh_names(LINES), fresh_names(40)
    upstream.latency = 0.05
    async with fleet(tmp_path, upstream.url, node.database, broker.url, SETTINGS) as pods:
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            await polls.until_done(200)
            async with outage(node, how):
                await until_it_says(pods.api, False, times=NOES)
                with pytest.raises(Refused, match="503"):
                    await pods.api.submit(batch_of(more))
                recorded = done(polls.seen[-1])
            returned = time.monotonic()
            await until_it_says(pods.api, True)
            ready_after = time.monotonic() - returned
            await polls.until(lambda batch: done(batch) > recorded)
            goes_on_after = time.monotonic() - returned
            story = await story_of(pods.api, polls, lines, ledger)
        assert pods.restarted() == 0
        assert [await one.stop() for one in pods.everybody] == [0, 0, 0]
    tell(f"{how}: ready again after {ready_after:.1f} s, lines recorded after {goes_on_after:.1f} s")
    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)


@pytest.mark.soak  # as in the storm, and by the proxy
async def test_connections_to_the_database_that_are_cut_all_at_once_time_and_again(
    tmp_path: Path, upstream: LedgerUpstream, ledger: Path, database: Database, broker: Broker
) -> None:
    lines = fresh_names(LINES)
    upstream.latency = 0.05
    async with (
        fleet(tmp_path, upstream.url, database, broker.url, SETTINGS) as pods,
        register_of(database) as register,
    ):
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            for done in range(40, LINES, 40):
                await polls.until_done(done)
                await cut_connections(database)
            await until_it_says(pods.api, True)
            story = await story_of(pods.api, polls, lines, ledger, register.kills(pods.workers))
        assert pods.restarted() == 0
        assert [await one.stop() for one in pods.everybody] == [0, 0, 0]
    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)


async def test_an_api_without_its_broker_is_ready(
    tmp_path: Path, upstream: LedgerUpstream, database: Database, broker_node: RabbitNode
) -> None:
    async with (
        broker_node.new_host() as host,
        fleet(tmp_path, upstream.url, database, host, SETTINGS, roles=()) as pods,
    ):
        await until_it_says(pods.api, True)
        await broker_node.kill()
        await pods.api.until_said("no connection to the broker")
        assert [await ready(pods.api) for _ in range(NOES)] == [True] * NOES
