"""Events that were moved to storage, and are damaged there: whoever asks for them is told what to do."""

import asyncio
from pathlib import Path

from events.batch import BatchCompleted, BatchFinalizing, BatchStarted, LinesCompleted, Usage
from tests.api.serving import OPTIONS, Served, listening
from tests.engine.audit.pruned_log import fetch
from tests.postgres import Database

NAME = "audit/segments/one"
MOVED = """
WITH moved AS (DELETE FROM events WHERE type = 'LinesCompleted' RETURNING *), segment AS (
    INSERT INTO segments (first, positions, name, sha256, bytes)
    SELECT position, int8multirange(int8range(position, position, '[]')), $1, sha256(''), 9 FROM moved)
INSERT INTO segment_streams SELECT stream_id, version, version, position FROM moved RETURNING segment
"""


async def test_what_needs_a_damaged_segment_names_it_and_the_remedy(
    database: Database, tmp_path: Path
) -> None:
    async with listening(database.app_url, tmp_path / "files", OPTIONS) as served:
        await asyncio.to_thread(a_segment_is_lost_and_then_changed, served, database)


def a_segment_is_lost_and_then_changed(served: Served, database: Database) -> None:
    client = served.project().client
    batch_id = client.created(client.uploaded())
    flush = LinesCompleted("token", "w", 1, 1, Usage(1, 2, 0, 0, 3), 0, "00")
    served.happen(batch_id, BatchStarted(2, "m"), flush, BatchFinalizing("done"), BatchCompleted("o", "e"))
    assert client.get(f"/v1/batches/{batch_id}").json["status"] == "completed"
    [[position]] = asyncio.run(fetch(database, MOVED, NAME))

    for how in ("is not there", "has another digest than was recorded"):
        for path in ("/history", "?at=3", "/events"):
            answer = client.get(f"/v1/batches/{batch_id}{path}")
            assert (answer.status, answer.error["type"]) == (500, "server_error")
            assert answer.error["message"] == (
                f"Old events cannot be read: the segment {position} to {position} of the log, {NAME} in "
                f"storage, {how}: take it from a backup of the storage; `batchmill audit verify` tells more."
            )
            assert answer.headers["x-should-retry"] == "false"
        served.run(served.store.keep(NAME, b"something"))
    assert client.get(f"/v1/batches/{batch_id}").json["status"] == "completed"
