"""A rolling upgrade: what only the newer program understands parks its stream, until all are upgraded."""

import asyncio
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from events.batch import Batch
from events.database import Database as Connections
from events.event import NewEvent
from events.postgres_log import PostgresLog
from events.shape import SHAPES
from tests.chaos.checker import broken_promises, results_of
from tests.chaos.fleet import fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import BOUND, PATIENCE, Refused, polling
from tests.chaos.witness import story_of, with_models
from tests.postgres import Database
from tests.rabbit import Broker
from tests.upstream import LedgerUpstream

SETTINGS: Final = {"concurrency": "8", "chunk_lines": "16"}
NEW_TYPE: Final = "BatchWithdrawn"
NEWER_PROGRAM: Final = f"""
from events import catalog, shape
from events.batch import Batch
catalog.UPCASTERS["{NEW_TYPE}"] = lambda plain: ("BatchCancelRequested", {{}})
shape.SHAPES[Batch] = shape.Shape(shape.SHAPES[Batch].number + 1, 0)
"""
"""Run by Python before anything else: a program that knows one more type, and has a newer shape of rows."""
SHAPE: Final = "SELECT shape_of(state) FROM read_models WHERE id = $1"
FOLLOWED: Final = "SELECT min(position) FROM checkpoints"


async def written_by_a_newer_program(database: Database, batch_id: str) -> int:
    """Appends an event of a new type to a batch, and one of an object of a new kind; returns the last
    position."""
    connections = await Connections.open(database.app_url, connections=2)
    try:
        log = PostgresLog(connections)
        await log.append([NewEvent(uuid4(), batch_id, "default", NEW_TYPE, '{"by":"owner"}')])
        await log.append([NewEvent(uuid4(), "webhook_1", "default", "WebhookCreated", "{}")])
        return await log.head()
    finally:
        await connections.close()


async def until_lifted(database: Database, *ids: str) -> None:
    """Returns when the rows of these batches have the shape of the newer program."""
    connection = await asyncpg.connect(database.app_url)
    try:
        async with asyncio.timeout(BOUND):
            for id in ids:
                while await connection.fetchval(SHAPE, id) <= SHAPES[Batch].number:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(PATIENCE)
    finally:
        await connection.close()


async def until_followed(database: Database, position: int) -> None:
    """Returns when every follower has come as far as that."""
    connection = await asyncpg.connect(database.app_url)
    try:
        async with asyncio.timeout(BOUND):
            while await connection.fetchval(FOLLOWED) < position:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(PATIENCE)
    finally:
        await connection.close()


async def test_a_batch_that_a_newer_program_changed_waits_for_the_upgrade_and_holds_up_nothing(
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    database: Database,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "sitecustomize.py").write_text(NEWER_PROGRAM)
    lines, others = fresh_names(200), fresh_names(60)
    upstream.latency = 0.05
    async with fleet(tmp_path, upstream.url, database, broker.url, SETTINGS) as pods:
        parked = await pods.api.submit(batch_of(lines))
        async with polling(pods.api, parked) as polls:
            await polls.until_done(20)
            head = await written_by_a_newer_program(database, parked)
            await polls.until(lambda batch: NEW_TYPE in (batch["batchmill"]["parked"] or ""))
            await upstream.until(lambda upstream: all(upstream.tries_of(line) for line in lines))

            other = await pods.api.submit(batch_of(others))
            async with polling(pods.api, other) as other_polls:
                untouched = await story_of(pods.api, other_polls, others, ledger)
            await until_followed(database, head)
            with pytest.raises(Refused, match="newer version") as refused:
                await pods.api.cancel(parked)
            assert refused.value.status == 503
            assert (await pods.api.get(parked))["status"] == "in_progress"
            assert pods.restarted() == 0

            monkeypatch.setenv("PYTHONPATH", str(newer))
            for worker in pods.workers:
                assert await worker.stop() == 0
                await worker.start()
            await polls.until_ended()  # by the old api: the newer leader has brought the row forward
            assert await pods.api.stop() == 0
            await pods.api.start()
            story = await story_of(pods.api, polls, lines, ledger)
        await until_lifted(database, parked, other)
        story = await with_models(story, database.app_url, pods.api.files)
    assert broken_promises(untouched) == broken_promises(story) == []
    assert untouched.polls[-1]["status"] == "completed"
    assert (story.polls[-1]["status"], story.polls[-1]["batchmill"]["parked"]) == ("cancelled", None)
    assert len(results_of(story.output)) == len(lines)
    assert len(story.visits) == len(lines)
