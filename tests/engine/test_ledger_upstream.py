"""The tests' own upstream: its ledger is what the crash tests believe, so it is tested too."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from engine.http_upstream import HttpUpstream
from engine.upstream import ConnectionDropped
from tests.upstream import ledger_upstream, visits

CHAT = "/v1/chat/completions"


async def test_each_try_of_a_line_is_in_the_ledger_with_its_outcome(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    async with ledger_upstream(ledger) as told:
        upstream = HttpUpstream(told.url)
        for _ in range(2):
            await upstream.send(CHAT, b'{"x":"line-1 503x1"}', timeout=60.0)
        with pytest.raises(ConnectionDropped):
            await upstream.send(CHAT, b'{"x":"line-2 drop"}', timeout=60.0)
        await upstream.close()
    assert [(each.line, each.number, each.outcome) for each in visits(ledger)] == [
        ("line-1", 1, "503"),
        ("line-1", 2, "200"),
        ("line-2", 1, "dropped"),
    ]


async def test_a_try_whose_client_goes_away_is_gone(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    async with ledger_upstream(ledger) as told:
        upstream = HttpUpstream(told.url)
        call = asyncio.create_task(upstream.send(CHAT, b'{"x":"line-1 stall"}', timeout=30.0))
        await told.until(lambda upstream: upstream.under_way == 1)
        assert visits(ledger)[0].outcome is None
        call.cancel()
        await told.until(lambda upstream: upstream.under_way == 0)
        await asyncio.gather(call, return_exceptions=True)
        await upstream.close()
    assert visits(ledger)[0].outcome == "gone"


async def test_it_runs_as_a_process_of_its_own_and_goes_on_with_its_ledger(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    before = time.monotonic()
    for _ in range(2):
        command = [sys.executable, "-m", "tests.upstream", "--ledger", str(ledger)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        upstream = HttpUpstream((await process.stdout.readline()).decode().strip())
        await upstream.send(CHAT, b'{"x":"line-1"}', timeout=20.0)
        await upstream.close()
        process.terminate()
        assert await process.wait() == 0
    seen = visits(ledger)
    assert [each.number for each in seen] == [1, 2]
    assert all(before < each.began <= (each.ended or 0) < time.monotonic() for each in seen)
