"""`kill -9` of everything, again and again: nothing is lost, and what was recorded is not run again."""

from pathlib import Path

import pytest

from tests.chaos.checker import Kill, broken_promises, in_flight, repeats
from tests.chaos.inputs import batch_of, names
from tests.chaos.mill import mill, polling
from tests.chaos.telling import Tell
from tests.chaos.witness import story_of
from tests.upstream import LedgerUpstream

CONCURRENCY = 32


@pytest.mark.parametrize("count", [1500, pytest.param(6000, marks=pytest.mark.soak)])
async def test_three_kills_during_thousands_of_lines(
    count: int, data_folder: Path, upstream: LedgerUpstream, ledger: Path, tell: Tell
) -> None:
    lines, kills = names(count), []
    upstream.latency = 0.05
    async with mill(data_folder, upstream.url, concurrency=str(CONCURRENCY)) as serving:
        batch_id = await serving.submit(batch_of(lines))
        async with polling(serving, batch_id) as polls:
            for done in (count // 6, count // 3, count // 2):
                await polls.until_done(done)
                kills.append(Kill(await serving.kill()))
                await serving.start()
            story = await story_of(serving, polls, lines, ledger, kills)

    assert broken_promises(story) == []
    flying = [in_flight(story, kill) for kill in kills]
    assert repeats(story) <= sum(flying)
    tell(f"3 kills: {flying} lines in flight, {repeats(story)} run twice, 0 lost")
