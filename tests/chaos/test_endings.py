"""Cancelled and expired batches: nothing new starts, what was under way counts, the rest is named."""

import time
from pathlib import Path

import pytest

from tests.chaos.checker import Story, broken_promises, results_of
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import mill, polling
from tests.chaos.witness import story_of
from tests.upstream import LedgerUpstream

ON_THE_WAY = 0.1
"""Seconds that a request sent before an answer may take to reach the upstream."""
STALLED = 30


def begun_after(story: Story, moment: float) -> list[str]:
    """Lines whose first try began after a moment."""
    return [visit.line for visit in story.visits if visit.began > moment + ON_THE_WAY]


def codes(story: Story) -> set[str | None]:
    return {result.code for result in results_of(story.errors)}


@pytest.mark.soak  # test_cancels has every moment
@pytest.mark.parametrize("after", [0, 1, 40, 200])
async def test_a_batch_cancelled_at_any_moment(
    after: int, data_folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    """`after` so many tries: none is during validation or soon after."""
    upstream.latency = 0.05
    lines = fresh_names(400)
    async with mill(data_folder, upstream.url, concurrency="16") as serving:
        batch_id = await serving.submit(batch_of(lines))
        async with polling(serving, batch_id) as polls:
            await upstream.until(lambda u: u.tries >= after)
            answered = await serving.cancel(batch_id)
            moment = time.monotonic()
            assert answered["status"] in ("cancelling", "cancelled")
            ended = await polls.until_ended()
            story = await story_of(serving, polls, lines, ledger)

    assert ended["status"] == "cancelled"
    if ended["in_progress_at"] is None:
        assert (story.output, story.errors, story.visits) == (b"", b"", [])
        return
    assert broken_promises(story) == []
    assert begun_after(story, moment) == []
    assert len(results_of(story.output)) == len(story.visits)
    assert codes(story) == {"batch_cancelled"}


async def test_a_batch_cancelled_while_it_finalizes_keeps_every_outcome(
    data_folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    """Its first try to write the output fails, so that there is a moment to cancel it in."""
    lines = fresh_names(20)
    async with mill(data_folder, upstream.url, "put.before=raise@2") as serving:
        batch_id = await serving.submit(batch_of(lines))
        async with polling(serving, batch_id) as polls:
            await polls.until(lambda batch: batch["status"] == "finalizing")
            answered = await serving.cancel(batch_id)
            ended = await polls.until_ended()
            story = await story_of(serving, polls, lines, ledger)

    assert answered["status"] == "cancelling"
    assert ended["status"] == "cancelled"
    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)


async def test_an_upstream_that_hangs_costs_a_cancellation_no_more_than_the_grace(
    data_folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    lines = fresh_names(60)
    told = dict.fromkeys(lines[:STALLED], "stall")
    async with mill(data_folder, upstream.url, concurrency=str(STALLED), cancel_grace="1s") as serving:
        batch_id = await serving.submit(batch_of(lines, told))
        async with polling(serving, batch_id) as polls:
            await upstream.until(lambda u: u.under_way == STALLED)
            await serving.cancel(batch_id)
            moment = time.monotonic()
            ended = await polls.until_ended()
            story = await story_of(serving, polls, lines, ledger)

    assert ended["status"] == "cancelled"
    assert broken_promises(story) == []
    assert begun_after(story, moment) == []
    assert len(results_of(story.errors)) == len(lines)


@pytest.mark.parametrize("cancelled", [False, pytest.param(True, marks=pytest.mark.soak)])
async def test_a_batch_that_expires(
    cancelled: bool, data_folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    """Also one whose deadline comes while it is cancelled: that is a cancelled batch."""
    upstream.latency = 0.1
    lines = fresh_names(400)
    told = dict.fromkeys(lines[20::40], "slow 1.5")
    settings = {"completion_windows": "24h,3s", "concurrency": "4", "cancel_grace": "5s"}
    async with mill(data_folder, upstream.url, **settings) as serving:
        batch_id = await serving.submit(batch_of(lines, told), window="3s")
        async with polling(serving, batch_id) as polls:
            if cancelled:
                await polls.until(lambda b: b["expires_at"] - time.time() < 1)
                await serving.cancel(batch_id)
            ended = await polls.until_ended()
            story = await story_of(serving, polls, lines, ledger)

    assert ended["status"] == ("cancelled" if cancelled else "expired")
    assert broken_promises(story) == []
    assert codes(story) == {"batch_cancelled" if cancelled else "batch_expired"}
    assert 0 < ended["request_counts"]["completed"] < len(lines)
    assert _recorded_all_that_answered(story)


def _recorded_all_that_answered(story: Story) -> bool:
    """Whether every answer that came within the grace counts."""
    answered = {visit.line for visit in story.visits if visit.outcome == "200"}
    return answered == {result.line for result in results_of(story.output)}
