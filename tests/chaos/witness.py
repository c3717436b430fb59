"""Gathers what was seen of a batch into a `Story`: files and polls of the API, the ledger, the log."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncpg

from events.lines import unpack_facts
from tests.chaos.checker import Kill, Story
from tests.chaos.mill import Mill, Polls
from tests.upstream import visits

_RECORDED = """
    SELECT lines, recorded_at FROM events WHERE stream_id = $1 AND type = 'LinesCompleted' ORDER BY version
"""
_BODIES = "SELECT count(*) FROM attachments WHERE batch_id = $1"
_GONE = "SELECT stored FROM read_models WHERE kind = 'file' AND hidden"


async def story_of(
    mill: Mill,
    polls: Polls,
    lines: Sequence[str],
    ledger: Path,
    kills: Sequence[Kill] = (),
) -> Story:
    """The story of a batch that has ended, as a running mill and its database tell it."""
    batch = await polls.until_ended()
    among = set(lines)
    return Story(
        lines=lines,
        polls=list(polls.seen),
        output=await mill.content(batch["output_file_id"]),
        errors=await mill.content(batch["error_file_id"]),
        visits=[visit for visit in visits(ledger) if visit.line in among],
        recorded=await _recorded(mill.database, batch["id"], lines),
        kills=kills,
    )


async def remains_of(mill: Mill, batch_id: str) -> int:
    """How many bodies of a batch's lines the database still holds, and how many objects of files that are
    gone the folder."""
    connection = await asyncpg.connect(mill.database)
    try:
        bodies = int(await connection.fetchval(_BODIES, batch_id))
        gone = [row["stored"] for row in await connection.fetch(_GONE)]
    finally:
        await connection.close()
    return bodies + sum((mill.files / str(stored)).exists() for stored in gone)


async def _recorded(url: str, batch_id: str, lines: Sequence[str]) -> Mapping[str, float]:
    """When each line's outcome was recorded, on this machine's monotonic clock."""
    since_epoch = time.time() - time.monotonic()
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(_RECORDED, batch_id)
    finally:
        await connection.close()
    return {
        lines[line]: row["recorded_at"].timestamp() - since_epoch
        for row in rows
        for line in unpack_facts(row["lines"]).lines
    }
