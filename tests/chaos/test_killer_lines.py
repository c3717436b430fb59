"""A line that kills whoever runs it ends as an error of its own, and takes nobody with it."""

import asyncio
from pathlib import Path

from tests.chaos.checker import Kill, broken_promises, results_of
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import mill, polling
from tests.chaos.witness import story_of
from tests.upstream import LedgerUpstream

DEATHS = 8
"""Three of its chunk, two while it runs alone, and as many more as others of its chunk get on meanwhile."""


async def test_a_line_that_kills_its_worker_is_isolated(
    data_folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    upstream.latency = 0.02
    lines = fresh_names(100)
    killer = lines[50]
    kills: list[Kill] = []
    async with mill(data_folder, upstream.url, concurrency="8", chunk_lines="16") as serving:

        async def die_of_it() -> None:
            while True:
                await upstream.until(lambda u: u.tries_of(killer) > len(kills))
                kills.append(Kill(await serving.kill()))
                await serving.start()

        dying = asyncio.create_task(die_of_it())
        batch_id = await serving.submit(batch_of(lines, {killer: "stall"}))
        async with polling(serving, batch_id) as polls:
            story = await story_of(serving, polls, lines, ledger, kills)
        dying.cancel()

    assert broken_promises(story) == []
    assert [(result.line, result.code) for result in results_of(story.errors)] == [(killer, "worker_lost")]
    assert b'"The worker that ran this request died 2 times while it ran alone."' in story.errors
    assert len(kills) <= DEATHS
