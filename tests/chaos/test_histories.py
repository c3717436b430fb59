"""Random histories of cancellation, expiry, deletion and retry under `kill -9`: whatever happens, counts and
files agree, and each line has one outcome.

A seed decides what each client does and when the server dies. It is in the name of the test;
`BATCHMILL_TEST_SEED` gives it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import aiohttp
import asyncpg
import msgspec
import pytest

from tests.chaos.checker import Kill, Story, broken_promises, repeats
from tests.chaos.history import Chapter, History
from tests.chaos.mill import Mill, mill
from tests.chaos.patient_client import PatientClient
from tests.chaos.seed import SEED
from tests.chaos.watch import watching
from tests.chaos.witness import with_models, with_recorded, with_visits
from tests.upstream import LedgerUpstream, Visit

AT_ONCE: Final = 40
LINE_TIMEOUT: Final = 1.5
# What is in flight at a kill runs alone afterwards, one line after the other: not much is to be in flight.
SETTINGS: Final = {
    "attempts": "2",
    "retry_floor": "1000",
    "line_timeout": f"{LINE_TIMEOUT:g}s",
    "connect_timeout": f"{LINE_TIMEOUT:g}s",
    "cancel_grace": "400ms",
    "chunk_lines": "4",
    "concurrency": "16",
    "completion_windows": "24h,1s-1h",
    "log_level": "warning",
}
ENDINGS: Final = """
    SELECT stream_id FROM events
    WHERE type IN ('BatchCompleted', 'BatchFailed', 'BatchExpired', 'BatchCancelled')
    GROUP BY stream_id HAVING count(*) > 1
"""


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seed", [SEED])
@pytest.mark.parametrize("count", [6, pytest.param(500, marks=pytest.mark.soak)])
async def test_counts_and_files_agree_after_any_history(
    count: int,
    seed: int,
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upstream.latency = 0.02
    kills: list[Kill] = []
    began = time.monotonic()
    async with (
        mill(tmp_path / "data", upstream.url, **SETTINGS) as serving,
        aiohttp.ClientSession() as session,
    ):
        client = PatientClient(serving, session)
        async with watching(client) as watch:
            histories = [History(f"{seed}-{n}", client, watch) for n in range(count)]
            done = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    kill_again_and_again(serving, Random(seed), kills, max(1, count // 20), done)
                )
                await lived(histories)
                done.set()
        took = time.monotonic() - began
        stories = await told(histories, ledger, kills, serving.database)
        ended_twice = await endings(serving.database)
        models = await with_models(Story((), (), b"", b""), serving.database, serving.files)
        assert await serving.stop() == 0

    for history, chapter, story in stories:
        history.wrong += [f"{chapter.batch_id}: {breach}" for breach in broken_promises(story)]
    with capsys.disabled():
        print(f"\nseed {seed}: {report(histories, [story for *_, story in stories], kills, took)}")
    assert {history.seed: history.wrong for history in histories if history.wrong} == {}
    assert ended_twice == []
    assert models.differences == []


async def lived(histories: Sequence[History]) -> None:
    """Lets each live, so many at a time; what ends one is among what went wrong with it."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def live(history: History) -> None:
        async with turn:
            try:
                await history.live()
            except Exception as error:
                history.wrong.append(f"{error!r}: {getattr(error, 'exceptions', '')}")

    await asyncio.gather(*(live(history) for history in histories))


async def kill_again_and_again(
    serving: Mill, dice: Random, kills: list[Kill], most: int, done: asyncio.Event
) -> None:
    """Kills everything at random moments, soon at first, at most so many times, and starts it again, until
    `done`."""
    for n in range(most):
        with suppress(TimeoutError):
            async with asyncio.timeout(dice.uniform(0.5, min(2.0 * n + 2.0, 12.0))):
                await done.wait()
                return
        kills.append(Kill(await serving.kill()))
        await serving.start()


async def told(
    histories: Sequence[History], ledger: Path, kills: Sequence[Kill], database: str
) -> list[tuple[History, Chapter, Story]]:
    """The stories of all batches that ran, with what upstream and log have seen of them. A line that is
    retried has visits in several."""
    chapters = [(history, one) for history in histories for one in history.chapters if one.ran]
    stories = with_visits([one.story for _, one in chapters], ledger)
    connection = await asyncpg.connect(database)
    try:
        return [
            (
                history,
                chapter,
                replace(
                    await with_recorded(story, connection),
                    visits=[given_up(v) for v in story.visits if chapter.since <= v.began < chapter.until],
                    kills=kills,
                ),
            )
            for (history, chapter), story in zip(chapters, stories, strict=True)
        ]
    finally:
        await connection.close()


def given_up(visit: Visit) -> Visit:
    """The visit, with the outcome of a time-out where whoever made it left after that time: then another try
    is right."""
    late = visit.ended is not None and visit.ended - visit.began > 0.9 * LINE_TIMEOUT
    return msgspec.structs.replace(visit, outcome="504") if late and visit.outcome == "gone" else visit


async def endings(database: str) -> list[str]:
    """Batches that the log ends more than once."""
    connection = await asyncpg.connect(database)
    try:
        return [row["stream_id"] for row in await connection.fetch(ENDINGS)]
    finally:
        await connection.close()


def report(histories: Sequence[History], stories: Sequence[Story], kills: Sequence[Kill], took: float) -> str:
    """The figures."""
    did = sum((history.did for history in histories), Counter[str]())
    lines = sum(len(chapter.lines) for history in histories for chapter in history.chapters)
    return (
        f"{len(histories)} histories with {sum(len(h.chapters) for h in histories)} batches of {lines} lines "
        f"in {took:.0f} s, {len(kills)} kills of everything; {sum(map(repeats, stories))} lines run again "
        f"after a kill; {', '.join(f'{many} {what}' for what, many in sorted(did.items()))}"
    )
