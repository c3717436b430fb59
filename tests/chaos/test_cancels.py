"""Batches that are cancelled at every moment of their lives while others run: each ends once, and each of its
lines has one outcome.

A seed decides which batch is cancelled when. It is in the name of the test; `BATCHMILL_TEST_SEED` gives it.
"""

import asyncio
import enum
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Final

import asyncpg
import pytest

from tests.chaos.checker import Story, broken_promises, results_of
from tests.chaos.fleet import Fleet, fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import Json, Polls, Refused, polling
from tests.chaos.seed import SEED
from tests.chaos.telling import Tell
from tests.chaos.witness import story_of, with_visits
from tests.postgres import Database
from tests.rabbit import Broker
from tests.upstream import LedgerUpstream

LINES: Final = 24
AT_ONCE: Final = 6
"""Batches that are being cancelled at the same time."""
LOAD: Final = 200
"""Lines of a batch that nobody cancels. One after the other of these runs; those to be cancelled go first, as
their deadline is nearer."""
GRACE: Final = 2.0
SLOW: Final = 6.0
"""Seconds that some lines take: no grace is long enough for them."""
BOUND: Final = GRACE + 60.0
"""Seconds from a cancellation to the end, at most. Little is needed after the grace on an idle machine."""
SETTINGS: Final = {
    "concurrency": "12",
    "chunk_lines": "16",
    "cancel_grace": f"{GRACE:g}s",
    "completion_windows": "24h,1h",
}
ENDINGS: Final = """
    SELECT stream_id FROM events
    WHERE type IN ('BatchCompleted', 'BatchFailed', 'BatchExpired', 'BatchCancelled')
    GROUP BY stream_id HAVING count(*) > 1
"""


class Moment(enum.StrEnum):
    """When a batch is cancelled."""

    CREATED = "just created"
    EARLY = "while it is planned or a moment later"
    AT_A_LINE = "while it runs"
    TWICE = "twice at once, while it runs"
    AT_THE_END = "when its last line is under way, or a moment later"
    ENDED = "when it has ended"


@dataclass
class Cancelled:
    """What became of one batch. `asked` is when the first answer to a cancellation came."""

    moment: Moment
    story: Story
    answers: list[Json | Refused]
    asked: float
    ended: float

    @property
    def taken(self) -> bool:
        """Whether the cancellation was accepted."""
        return not any(isinstance(answer, Refused) for answer in self.answers)

    @property
    def when(self) -> str:
        """How far it was when the cancellation came."""
        answer = self.answers[0]
        if isinstance(answer, Refused):
            return "ended"
        if answer["finalizing_at"] is not None:
            return "finalizing"
        return "validating" if answer["in_progress_at"] is None else "running"

    @property
    def final(self) -> Json:
        """The batch as it ended."""
        return dict(self.story.polls[-1])


async def cancelled(pods: Fleet, upstream: LedgerUpstream, dice: Random) -> Cancelled:
    """One batch from its creation to its end."""
    moment = dice.choice(list(Moment))
    lines = fresh_names(LINES)
    told: dict[str, str] = {}
    if moment in (Moment.EARLY, Moment.AT_A_LINE, Moment.TWICE) and dice.random() < 0.5:
        told = {line: f"slow {SLOW:g}" for line in dice.sample(lines, 3)}
    batch_id = await pods.api.submit(batch_of(lines, told), window="1h")
    async with polling(pods.api, batch_id) as polls:
        await _reached(moment, lines, upstream, polls, dice)
        many = 2 if moment is Moment.TWICE else 1
        answers = await asyncio.gather(*(_cancel(pods, batch_id) for _ in range(many)))
        asked = time.monotonic()
        await polls.until_ended(BOUND)
        ended = time.monotonic()
        story = await story_of(pods.api, polls, lines, None)
    return Cancelled(moment, story, list(answers), asked, ended)


async def _reached(
    moment: Moment, lines: Sequence[str], upstream: LedgerUpstream, polls: Polls, dice: Random
) -> None:
    match moment:
        case Moment.CREATED:
            return
        case Moment.EARLY:
            await asyncio.sleep(dice.uniform(0, 0.3))
        case Moment.AT_A_LINE | Moment.TWICE:
            line = dice.choice(lines)
            await upstream.until(lambda upstream: upstream.tries_of(line) > 0)
        case Moment.AT_THE_END:
            await upstream.until(lambda upstream: all(upstream.tries_of(line) for line in lines))
            await asyncio.sleep(dice.uniform(0, 0.5))
        case Moment.ENDED:
            await polls.until_ended()


async def _cancel(pods: Fleet, batch_id: str) -> Json | Refused:
    try:
        return await pods.api.cancel(batch_id)
    except Refused as refused:
        return refused


async def load(pods: Fleet, done: asyncio.Event) -> list[Story]:
    """Batches that nobody cancels, until `done`; the last one is seen to its end."""
    stories = []
    while not done.is_set():
        lines = fresh_names(LOAD)
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls:
            await polls.until_ended(300)
            stories.append(await story_of(pods.api, polls, lines, None))
    return stories


def broken(one: Cancelled) -> list[str]:
    """What is wrong with the end of a batch."""
    status = one.final["status"]
    if status != ("cancelled" if one.taken else "completed"):
        return [f"it ended as {status}, and the answers to its cancellation were {one.answers}"]
    if any(isinstance(answer, Refused) and answer.status != 409 for answer in one.answers):
        return [f"its cancellation was answered with {one.answers}"]
    if one.final["in_progress_at"] is None:
        story = one.story
        left = (story.output, story.errors, list(story.visits), one.final["request_counts"]["total"])
        return [] if left == (b"", b"", [], 0) else ["it was cancelled before it began, and something ran"]
    codes = {result.code for result in results_of(one.story.errors)}
    if codes - {"batch_cancelled"}:
        return [f"lines ended with {codes}"]
    return broken_promises(one.story)


@pytest.mark.parametrize("seed", [SEED])
@pytest.mark.parametrize("count", [24, pytest.param(200, marks=pytest.mark.soak)])
async def test_batches_cancelled_at_every_moment_end_once(
    count: int,
    seed: int,
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    database: Database,
    broker: Broker,
    tell: Tell,
) -> None:
    upstream.latency = 0.05
    dice = [Random(f"{seed}.{n}") for n in range(count)]
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(pods: Fleet, dice: Random) -> Cancelled:
        async with turn:
            return await cancelled(pods, upstream, dice)

    async with fleet(tmp_path, upstream.url, database, broker.url, SETTINGS) as pods:
        done = asyncio.Event()
        others = asyncio.create_task(load(pods, done))
        try:
            batches = await asyncio.gather(*(one(pods, own) for own in dice))
            done.set()
            stories = await others
        finally:
            others.cancel()
            with suppress(asyncio.CancelledError):
                await others
        for batch in batches:
            again = await pods.api.get(batch.final["id"])
            batch.story = replace(batch.story, polls=[*batch.story.polls, again])
        assert await endings(database) == []
        assert [await each.stop() for each in pods.everybody] == [0] * len(pods.everybody)

    for batch, story in zip(batches, with_visits([b.story for b in batches], ledger), strict=True):
        batch.story = story
    assert {b.final["id"]: (b.moment, wrong) for b in batches if (wrong := broken(b))} == {}
    assert [broken_promises(story) for story in with_visits(stories, ledger)] == [[]] * len(stories)
    tell(f"seed {seed}: " + told_of(batches, sum(len(story.lines) for story in stories)))


async def endings(database: Database) -> list[str]:
    """Batches that the log ends more than once."""
    connection = await asyncpg.connect(database.app_url)
    try:
        return [row["stream_id"] for row in await connection.fetch(ENDINGS)]
    finally:
        await connection.close()


def told_of(batches: Sequence[Cancelled], load: int) -> str:
    """The figures."""
    taken = [batch for batch in batches if batch.taken]
    took = sorted(batch.ended - batch.asked for batch in taken)
    when = Counter(batch.when for batch in taken)
    kept = sum(batch.final["request_counts"]["completed"] for batch in taken)
    cut = sum(visit.outcome == "gone" for b in taken for visit in b.story.visits)
    late = max((visit.began - b.asked for b in taken for visit in b.story.visits), default=0.0)
    return "\n".join(
        [
            f"{len(batches)} batches beside {load} lines of others: {len(taken)} cancelled, "
            f"{len(batches) - len(taken)} completed before",
            f"cancelled {dict(when)}; {kept} of their {LINES * len(taken)} lines had run, "
            f"{cut} were under way when the grace was over",
            f"from the cancellation to the end: half within {took[len(took) // 2]:.1f} s, "
            f"all within {took[-1]:.1f} s (grace {GRACE:g} s)",
            f"the last line to begin did so {1000 * late:.0f} ms after the answer",
        ]
    )
