"""No false alarm: logs of servers that died again and again are verified, while they run and after, and while
what is old of them is moved to storage."""

import asyncio
from datetime import timedelta
from pathlib import Path
from random import Random

import aiohttp
import pytest

from cli.embedded.data_folder import audit_key_file
from engine.audit.pruner import prune
from engine.audit.signer import parse_private_keys
from events.audit.note import PublicKey
from events.database import Database
from storage.object_store import open_store
from tests.chaos.checker import Kill
from tests.chaos.history import History
from tests.chaos.mill import Mill, mill
from tests.chaos.patient_client import PatientClient
from tests.chaos.seed import SEED
from tests.chaos.test_histories import SETTINGS, kill_again_and_again, lived
from tests.chaos.verified import verified
from tests.chaos.watch import watching
from tests.upstream import LedgerUpstream

KILLS = 3
"""At most, in a round."""


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("rounds", [50])
async def test_a_log_is_clean_after_any_history_and_while_it_is_made(
    rounds: int,
    tmp_path: Path,
    upstream: LedgerUpstream,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upstream.latency = 0.05
    alarms, reports, moved = [], [], 0
    kills: list[Kill] = []
    async with (
        mill(tmp_path / "data", upstream.url, **SETTINGS) as serving,
        aiohttp.ClientSession() as session,
    ):
        client = PatientClient(serving, session)
        for number in range(rounds):
            async with watching(client) as watch:
                histories = [History(f"{SEED}-{number}-{n}", client, watch) for n in range(3)]
                done = asyncio.Event()
                async with asyncio.TaskGroup() as group:
                    dice = Random(f"{SEED}-{number}")
                    group.create_task(kill_again_and_again(serving, dice, kills, KILLS, done))
                    await lived(histories)
                    done.set()
            moved += await pruned(serving)
            report = await verified(serving.database, serving.files, kept_keys(serving))
            reports.append(report)
            alarms += [(number, defect) for defect in report.defects]
    last = reports[-1]
    with capsys.disabled():
        print(
            f"\nseed {SEED}: {rounds} verifications, {len(kills)} kills; the last one of {last.events:,} "
            f"events, {last.checkpoints} checkpoints, {last.files} files, {last.erased} attachments erased, "
            f"{moved:,} events moved"
        )
    assert alarms == []
    assert last.sealed > 0


async def pruned(serving: Mill) -> int:
    """Moves to storage what may be; how many events that were."""
    database, store = await Database.open(serving.database), open_store(serving.files.as_uri())
    try:
        return (await prune(database, store, kept_keys(serving), timedelta())).events
    finally:
        await store.close()
        await database.close()


def kept_keys(serving: Mill) -> list[PublicKey]:
    """The keys that a server of its own signs with."""
    return [key.public for key in parse_private_keys(audit_key_file(serving.folder).read_text())]
