"""The read models are made again, time and again, while two workers run and clients poll: nobody sees it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.checker import broken_promises
from tests.chaos.fleet import fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import ENDED, Json, Mill, polling
from tests.chaos.telling import Tell
from tests.chaos.witness import story_of, with_models
from tests.postgres import Database
from tests.rabbit import Broker
from tests.upstream import LedgerUpstream

LINES: Final = 6_000
REBUILDS: Final = 8
DEATHS: Final = ("copy.after", "swap.before", "swap.after")
"""Where rebuilds in between are killed."""
CLIENTS: Final = 4


async def rebuild(database: Database, failpoint: str = "") -> int:
    """A run of the command; what the shell hears of it."""
    names = {
        "BATCHMILL_DATABASE_URL": database.app_url,
        "BATCHMILL_FAILPOINTS": f"{failpoint}=kill" if failpoint else "",
    }
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "rebuild", "--json"),
        env={key: value for key, value in os.environ.items() if not key.startswith("BATCHMILL_")} | names,
        start_new_session=True,
        stdout=PIPE,
    )
    async with asyncio.timeout(60):
        await running.communicate()
    return running.returncode or 0


async def poll(api: Mill, batch_id: str, stop: asyncio.Event) -> list[Json]:
    """Asks for a batch without a rest, makes and finds objects of its own; no error is an answer."""
    seen: list[Json] = []
    while not stop.is_set():
        seen.append(await api.get(batch_id))
        file_id = await api.upload(b"{}\n")
        assert await api.content(file_id) == b"{}\n"
        await api.delete_file(file_id)
    return seen


@pytest.mark.soak
async def test_a_rebuild_in_the_middle_of_work_is_seen_by_nobody(
    tmp_path: Path, upstream: LedgerUpstream, ledger: Path, database: Database, broker: Broker, tell: Tell
) -> None:
    upstream.latency = 0.1
    lines, stop = fresh_names(LINES), asyncio.Event()
    async with fleet(tmp_path, upstream.url, database, broker.url, {"concurrency": "8"}) as pods:
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls, asyncio.TaskGroup() as group:
            clients = [group.create_task(poll(pods.api, batch_id, stop)) for _ in range(CLIENTS)]
            await polls.until(lambda batch: batch["request_counts"]["completed"] > 0, within=60)
            for number in range(REBUILDS):
                if number < len(DEATHS):
                    assert await rebuild(database, DEATHS[number]) == -signal.SIGKILL
                assert await rebuild(database) == 0
            during = (await pods.api.get(batch_id))["status"]
            await polls.until_ended(within=300)
            story = await story_of(pods.api, polls, lines, ledger)
            stop.set()
        story = await with_models(story, database.app_url, pods.api.files)
        assert pods.restarted() == 0
    assert broken_promises(story) == []
    answers = [client.result() for client in clients]
    for seen in answers:
        counts = [batch["request_counts"]["completed"] for batch in seen]
        assert all(before <= after for before, after in pairwise(counts))
    assert not {batch["status"] for seen in answers for batch in seen} & (ENDED - {"completed"})
    tell(
        f"{REBUILDS} rebuilds and {len(DEATHS)} killed ones in {LINES:,} lines ({during} after them); "
        f"{sum(map(len, answers)):,} rounds of {CLIENTS} clients, no error"
    )
