"""Whoever reads the whole log stream by stream opens a segment about once, however many streams lie in it."""

from hashlib import sha256
from itertools import groupby
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from events.audit.digests import COLUMNS, LogRow
from events.batch import BatchFinalizing, BatchStarted, LinesIndexed
from events.catalog import new_event
from events.segments import segments
from events.segments.encoding import pack
from events.segments.segments import Segments
from storage.local_folder import LocalFolder
from tests.events.stage import PROJECT, Stage
from tests.postgres import Database

STREAMS = 60
EACH = 5
"""Events in a segment: those of more than two streams."""
MOVE = """
WITH segment AS (
    INSERT INTO segments (first, positions, name, sha256, bytes)
    SELECT min(p), range_agg(int8range(p, p, '[]')), $2, $3, $4 FROM unnest($1::bigint[]) p),
moved AS (DELETE FROM events WHERE position = ANY ($1) RETURNING stream_id, version)
INSERT INTO segment_streams SELECT stream_id, min(version), max(version), $1[1] FROM moved GROUP BY stream_id
"""


class CountingFolder(LocalFolder):
    """Notes which objects are read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[str] = []

    async def read(self, key: str, start: int, end: int) -> bytes:
        self.opened.append(key)
        return await super().read(key, start, end)


async def test_neighbours_are_read_together(stage: Stage, database: Database, tmp_path: Path) -> None:
    store, streams = CountingFolder(tmp_path), [f"batch_{uuid4().hex}" for _ in range(STREAMS)]
    life = (BatchStarted(2, "m"), LinesIndexed(0), LinesIndexed(1), BatchFinalizing("done"))
    await stage.log.append([new_event(id, PROJECT, event) for id in streams for event in life])
    objects = await moved(database, store)

    read = [event async for page in Segments(stage.database, store).streams(50) for event in page]
    assert len(read) == STREAMS * len(life)
    assert {(event.stream_id, event.version) for event in read} == {
        (id, version) for id in streams for version in range(1, len(life) + 1)
    }
    assert [event.version for event in read] == [1, 2, 3, 4] * STREAMS
    assert len(set(store.opened)) == objects
    assert len(store.opened) <= objects + 1
    await store.close()


async def moved(database: Database, store: LocalFolder) -> int:
    """Moves what may be into segments; says into how many."""
    superuser = await asyncpg.connect(
        database.superuser_url, server_settings={"session_replication_role": "replica"}
    )
    rows = [
        LogRow(*row)
        for row in await superuser.fetch(
            f"SELECT {COLUMNS} FROM events WHERE type = 'LinesIndexed' ORDER BY position"
        )
    ]
    parts = [rows[start : start + EACH] for start in range(0, len(rows), EACH)]
    for number, part in enumerate(parts):
        packed, positions = pack(part), [row.position for row in part]
        await store.keep(f"audit/{number}", packed)
        await superuser.execute(MOVE, positions, f"audit/{number}", sha256(packed).digest(), len(packed))
    await superuser.close()
    return len(parts)


async def test_long_streams_and_far_positions_are_read_whole(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "FIRST", 4)
    monkeypatch.setattr(segments, "LOOKED", 3)
    lengths = {f"batch_{n}": n for n in (4, 1, 9, 3, 5, 8)}
    for id, length in lengths.items():
        await stage.log.append([new_event(id, PROJECT, LinesIndexed(n)) for n in range(length)])
    owner = await asyncpg.connect(
        database.superuser_url, server_settings={"session_replication_role": "replica"}
    )
    await owner.execute("UPDATE events SET position = 1 << 40 WHERE position = 30")
    await owner.execute("UPDATE events SET position = -7 WHERE position = 5")
    await owner.close()
    for size in (2, 7, 100):
        pages = [page async for page in Segments(stage.database, None).streams(size)]
        assert all(len(page) <= size for page in pages)
        places = [(event.stream_id, event.version) for page in pages for event in page]
        assert sorted(places) == [(id, n + 1) for id in sorted(lengths) for n in range(lengths[id])]
        assert [id for id, _ in groupby(place[0] for place in places)] == [
            "batch_1",
            *(id for id in lengths if id != "batch_1"),
        ]
