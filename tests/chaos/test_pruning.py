"""Old batches are moved to storage, by one that dies, while workers run and clients poll: nobody sees it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import pytest

from engine.audit.pruner import Pruned
from tests.chaos.checker import broken_promises
from tests.chaos.fleet import AUDIT_KEY, Fleet, fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import polling
from tests.chaos.telling import Tell
from tests.chaos.test_rebuild import poll
from tests.chaos.verified import verified
from tests.chaos.witness import story_of, with_models
from tests.postgres import Database
from tests.rabbit import Broker
from tests.upstream import LedgerUpstream

LINES: Final = 4_000
OLD: Final = 8
"""Batches that end and lose their results meanwhile, one after the other."""
OLD_LINES: Final = 200
DEATHS: Final = ("segment.before", "segment.after", "prune.before", "prune.after")
CLIENTS: Final = 3


async def prune(pods: Fleet, database: Database, failpoint: str = "") -> tuple[int, Pruned | None]:
    """A run of the command: what the shell hears of it, and what it says."""
    names = {
        "BATCHMILL_DATABASE_URL": database.app_url,
        "BATCHMILL_DATABASE_OWNER_URL": database.owner_url,
        "BATCHMILL_STORAGE_URL": pods.api.files.as_uri(),
        "BATCHMILL_FAILPOINTS": f"{failpoint}=kill" if failpoint else "",
    }
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "prune", "--older-than", "0s", "--json"),
        *("--key", AUDIT_KEY.public.text),
        env={key: value for key, value in os.environ.items() if not key.startswith("BATCHMILL_")} | names,
        start_new_session=True,
        stdout=PIPE,
    )
    async with asyncio.timeout(60):
        said, _ = await running.communicate()
    return running.returncode or 0, msgspec.json.decode(said, type=Pruned) if said else None


async def grow_old(pods: Fleet, upstream: LedgerUpstream) -> str:
    """A batch that ends, and whose results are deleted."""
    batch_id = await pods.api.submit(batch_of(fresh_names(OLD_LINES)))
    async with polling(pods.api, batch_id) as polls:
        ended = await polls.until_ended(within=120)
    await pods.api.delete_file(ended["output_file_id"])
    return batch_id


@pytest.mark.soak
async def test_pruning_in_the_middle_of_work_is_seen_by_nobody(
    tmp_path: Path, upstream: LedgerUpstream, ledger: Path, database: Database, broker: Broker, tell: Tell
) -> None:
    upstream.latency = 0.1
    lines, stop = fresh_names(LINES), asyncio.Event()
    deaths, moved = list(DEATHS), 0
    async with fleet(tmp_path, upstream.url, database, broker.url, {"concurrency": "8"}) as pods:
        batch_id = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, batch_id) as polls, asyncio.TaskGroup() as group:
            clients = [group.create_task(poll(pods.api, batch_id, stop)) for _ in range(CLIENTS)]
            old = [await grow_old(pods, upstream)]
            while len(old) < OLD or deaths or not moved:
                growing = asyncio.create_task(grow_old(pods, upstream))
                if deaths:
                    code, _ = await prune(pods, database, deaths[0])
                    if code == -signal.SIGKILL:
                        deaths.pop(0)
                code, pruned = await prune(pods, database)
                assert code == 0
                assert pruned is not None
                moved += pruned.events
                old.append(await growing)
            histories = [await pods.api.get(f"{id}/history") for id in old]
            await polls.until_ended(within=300)
            story = await story_of(pods.api, polls, lines, ledger)
            stop.set()
        story = await with_models(story, database.app_url, pods.api.files)
        report = await verified(database.app_url, pods.api.files, [AUDIT_KEY.public])
        assert pods.restarted() == 0
    assert broken_promises(story) == []
    assert report.defects == []
    for history in histories:
        [running] = [entry for entry in history["data"] if entry["name"] == "running"]
        assert f"{OLD_LINES} lines succeeded" in running["text"]
    for client in clients:
        counts = [batch["request_counts"]["completed"] for batch in client.result()]
        assert all(before <= after for before, after in pairwise(counts))
    tell(
        f"{moved:,} events of {len(old)} batches moved, by {len(DEATHS)} that were killed and others, in "
        f"{LINES:,} lines; {sum(len(client.result()) for client in clients):,} rounds of {CLIENTS} clients"
    )
