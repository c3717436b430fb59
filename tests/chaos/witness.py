"""Gathers what was seen of a batch into a `Story`: files and polls of the API, the ledger, the log."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg

from events.audit.replay import Replay
from events.outcomes.lines import unpack_facts
from tests.chaos.checker import Kill, Story
from tests.chaos.contents import opened
from tests.chaos.mill import BOUND, PATIENCE, Mill, Polls
from tests.upstream import Visit, visits

_RECORDED = """
    SELECT lines, recorded_at FROM events WHERE stream_id = $1 AND type = 'LinesCompleted' ORDER BY version
"""
_BODIES = "SELECT count(*) FROM attachments WHERE batch_id = $1"
_PROJECTED = """
    SELECT position >= (SELECT coalesce(max(position), 0) FROM events) FROM checkpoints WHERE follower = $1
"""
_GONE = "SELECT stored FROM read_models WHERE kind = 'file' AND hidden"


async def story_of(
    mill: Mill,
    polls: Polls,
    lines: Sequence[str],
    ledger: Path | None,
    kills: Sequence[Kill] = (),
) -> Story:
    """The story of a batch that has ended, as a running mill and its database tell it; without a ledger the
    visits are still to come."""
    batch = await polls.until_ended()
    among = set(lines)
    story = Story(
        lines=lines,
        polls=list(polls.seen),
        output=await mill.content(batch["output_file_id"]),
        errors=await mill.content(batch["error_file_id"]),
        visits=[] if ledger is None else [visit for visit in visits(ledger) if visit.line in among],
        kills=kills,
    )
    connection = await asyncpg.connect(mill.database)
    try:
        return await with_recorded(story, connection)
    finally:
        await connection.close()


async def with_recorded(story: Story, connection: "asyncpg.Connection[asyncpg.Record]") -> Story:
    """The story with what the log has recorded of it."""
    recorded = await _recorded(connection, story.polls[-1]["id"], story.lines)
    return replace(
        story,
        recorded=dict(reversed(recorded)),
        again=[line for line, times in Counter(line for line, _ in recorded).items() if times > 1],
    )


def with_visits(stories: Sequence[Story], ledger: Path) -> list[Story]:
    """The stories with what the upstream has seen of them: of many, a ledger is read once."""
    seen: dict[str, list[Visit]] = defaultdict(list)
    for visit in visits(ledger):
        seen[visit.line].append(visit)
    return [
        replace(
            story,
            visits=sorted(
                (visit for line in story.lines for visit in seen[line]), key=lambda visit: visit.began
            ),
        )
        for story in stories
    ]


async def with_models(story: Story, url: str, files: Path) -> Story:
    """The story with what a replay of the whole log finds different in the read models, as they stand when
    the projector has done its work, and in the folder of `files`; for when nothing is written any more. `url`
    is the application's login."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(BOUND):
            while not await connection.fetchval(_PROJECTED, "projector"):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(PATIENCE)
    finally:
        await connection.close()
    async with opened(url, files) as (database, store, _):
        replayed = await Replay(database, store, hashed=True).run()
    return replace(story, differences=replayed.differences)


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


async def _recorded(
    connection: "asyncpg.Connection[asyncpg.Record]", batch_id: str, lines: Sequence[str]
) -> list[tuple[str, float]]:
    """Each outcome's line and when it was recorded, on this machine's monotonic clock, in that order."""
    since_epoch = time.time() - time.monotonic()
    return [
        (lines[line], row["recorded_at"].timestamp() - since_epoch)
        for row in await connection.fetch(_RECORDED, batch_id)
        for line in unpack_facts(row["lines"]).lines
    ]
