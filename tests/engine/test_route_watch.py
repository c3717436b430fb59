"""A route watched over real sockets: it pauses with its upstream, says why, and goes on with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.answer import Reply
from engine.http_upstream import HttpUpstream
from engine.retry import judge
from engine.route_watch import RouteWatch
from engine.routes import PausePolicy, Standing
from engine.upstream import UpstreamFailure
from events.batch import Usage
from tests.upstream import LedgerUpstream, ledger_upstream

UNAVAILABLE = judge(Reply(503, "req_1", b"{}", Usage()))
SHORT_WAITS = PausePolicy(first_wait=0.05, longest_wait=0.1, spacing=0.01)


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[RouteWatch]:
    upstream = HttpUpstream(url)
    watch = RouteWatch("default", upstream, SHORT_WAITS)
    running = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await upstream.close()


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[LedgerUpstream]:
    async with ledger_upstream(tmp_path / "ledger") as upstream:
        yield upstream


async def test_a_line_that_fails_of_a_living_upstream_counts(told: LedgerUpstream) -> None:
    async with watching(told.url) as watch:
        assert await watch.failed("b1", UNAVAILABLE) is Standing.ALIVE
        assert watch.reason is None
    assert told.probes == 1


async def test_lines_that_fail_together_share_their_probes(told: LedgerUpstream) -> None:
    async with watching(told.url) as watch:
        standings = await asyncio.gather(*(watch.failed("b1", UNAVAILABLE) for _ in range(100)))
    assert standings == [Standing.ALIVE] * 100
    assert told.probes == 1


async def test_a_route_is_paused_until_its_upstream_is_well_again(told: LedgerUpstream) -> None:
    told.models_status = 503
    async with watching(told.url) as watch:
        assert await watch.failed("b1", UNAVAILABLE) is Standing.DOWN
        assert watch.reason == f"route paused: status 503 from {told.url}/models"
        waiting = asyncio.create_task(watch.opened())
        probes = told.probes
        await told.until(lambda upstream: upstream.probes >= probes + 2)
        assert not waiting.done()
        told.models_status = 200
        await waiting
        assert watch.reason is None


async def test_a_refused_connection_is_the_reason_shown(tmp_path: Path) -> None:
    async with ledger_upstream(tmp_path / "ledger") as gone:
        url = gone.url
    async with watching(url) as watch:
        upstream = HttpUpstream(url)
        with pytest.raises(UpstreamFailure) as raised:
            await upstream.send("/v1/chat/completions", b"{}", timeout=60.0)
        await upstream.close()
        assert await watch.failed("b1", judge(raised.value)) is Standing.DOWN
        assert watch.reason == f"route paused: connection refused by {url}"


async def test_the_models_are_asked_for_once_a_minute(told: LedgerUpstream) -> None:
    async with watching(told.url) as watch:
        assert await watch.known_models() == frozenset({"practice"})
        assert await watch.known_models() == frozenset({"practice"})
    assert told.probes == 1


async def test_the_models_of_a_broken_upstream_are_not_known(told: LedgerUpstream) -> None:
    told.models_status = 500
    async with watching(told.url) as watch:
        assert await watch.known_models() is None
