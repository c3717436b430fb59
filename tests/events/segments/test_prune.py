"""The function that deletes of the log looks for itself whether it may, whatever it is told."""

from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from events.audit.digests import COLUMNS, LogRow
from events.batch import Batch, LinesIndexed
from events.catalog import new_event
from events.database import Database as Pools
from events.errors import BatchmillError, SettingsError
from events.segments.moving import Moving
from tests.events.stage import PROJECT, Stage, flush_of
from tests.postgres import Database

SIGNED = """
INSERT INTO signed_checkpoints (incarnation, size, root, note)
SELECT (SELECT id FROM incarnations ORDER BY position DESC LIMIT 1), $1, '', ''
"""


class Old:
    """A batch of four flushes that has ended, and what takes it out of the log."""

    def __init__(
        self, stage: Stage, moving: Moving, owner: asyncpg.Connection, batch: str, output: str
    ) -> None:
        self.stage = stage
        self.moving = moving
        self.owner = owner
        self.batch = batch
        self.output = output

    async def seal(self, size: int | None = None) -> None:
        await self.owner.execute(SIGNED, size or await self.stage.log.head())

    async def rows(self, types: tuple[str, ...] = ("LinesCompleted",)) -> list[LogRow]:
        rows = await self.owner.fetch(
            f"SELECT {COLUMNS} FROM events WHERE stream_id = $1 AND type = ANY ($2) ORDER BY position",
            self.batch,
            list(types),
        )
        return [LogRow(*row) for row in rows]

    async def make_movable(self) -> None:
        """All that has to have happened."""
        await self.stage.delete_file(self.output)
        await self.stage.log.erase(self.batch, self.output)
        await self.stage.project(Batch, self.batch)
        await self.seal()

    async def prune(self, rows: list[LogRow]) -> None:
        await self.moving.prune(rows, "audit/x", b"digest", 1)


@pytest.fixture
async def old(stage: Stage, database: Database) -> AsyncIterator[Old]:
    owner, pools = (
        await asyncpg.connect(database.owner_url),
        await Pools.open(database.owner_url, connections=2),
    )
    batch, output = await stage.running_batch(lines=8), await stage.file()
    claim = await stage.claim(batch, lines=8)
    for line in range(0, 8, 2):
        await stage.log.flush([flush_of(claim, [line, line + 1])])
    await stage.log.append([new_event(batch, PROJECT, LinesIndexed(0))])
    await stage.finalize(batch)
    await stage.complete(batch, output)
    yield Old(stage, Moving(pools), owner, batch, output)
    await pools.close()
    await owner.close()


async def test_it_deletes_what_was_named_and_notes_where_that_is(old: Old) -> None:
    await old.make_movable()
    rows = await old.rows()
    await old.prune([rows[0], rows[1], rows[3]])
    assert await old.rows() == [rows[2]]
    [segment] = await old.owner.fetch("SELECT first, positions, name, sha256, bytes FROM segments")
    spans = [(span.lower, span.upper) for span in segment["positions"]]
    assert spans == [(rows[0].position, rows[2].position), (rows[3].position, rows[3].position + 1)]
    assert (segment["first"], segment["name"], segment["sha256"]) == (rows[0].position, "audit/x", b"digest")
    streams = await old.owner.fetch("SELECT * FROM segment_streams")
    assert [tuple(row) for row in streams] == [
        (old.batch, rows[0].version, rows[3].version, rows[0].position)
    ]


async def test_indexes_of_lines_go_too(old: Old) -> None:
    await old.make_movable()
    both = ("LinesIndexed", "LinesCompleted")
    await old.prune(await old.rows(both))
    assert await old.rows(both) == []


async def refused(old: Old, rows: list[LogRow], why: str) -> None:
    before = await old.owner.fetchval("SELECT count(*) FROM events")
    with pytest.raises(BatchmillError, match=why):
        await old.prune(rows)
    assert await old.owner.fetchval("SELECT count(*) FROM events") == before
    assert await old.owner.fetchval("SELECT count(*) FROM segments") == 0


async def test_a_batch_whose_file_is_not_gone_stays(old: Old) -> None:
    await old.stage.project(Batch, old.batch)
    await old.seal()
    await refused(old, await old.rows(), "bodies of events from position")


async def test_a_batch_whose_bodies_live_stays(old: Old) -> None:
    await old.stage.delete_file(old.output)
    await old.stage.project(Batch, old.batch)
    await old.seal()
    await refused(old, await old.rows(), "are not erased")


async def test_a_batch_that_was_not_written_forward_stays(old: Old) -> None:
    await old.stage.delete_file(old.output)
    await old.stage.log.erase(old.batch, old.output)
    await old.seal()
    await refused(old, await old.rows(), "is not written forward")


async def test_what_is_not_sealed_stays(old: Old) -> None:
    await old.stage.delete_file(old.output)
    await old.stage.log.erase(old.batch, old.output)
    await old.stage.project(Batch, old.batch)
    rows = await old.rows()
    await old.seal(rows[-1].position - 1)
    await refused(old, rows, "under no signed checkpoint")
    await old.prune(rows[:-1])


async def test_other_kinds_of_events_stay(old: Old) -> None:
    await old.make_movable()
    for kind in ("BatchCreated", "BatchStarted", "BatchFinalizing", "BatchCompleted"):
        await refused(old, await old.rows((kind,)), "hold no such event of lines")


async def test_an_event_with_another_digest_and_one_that_is_gone_stay(old: Old) -> None:
    await old.make_movable()
    rows = await old.rows()
    other = msgspec.structs.replace(rows[0], digest=b"other")
    await refused(old, [other, rows[1]], "1 of 2 positions")
    await old.prune(rows[:2])
    with pytest.raises(BatchmillError, match="2 of 3 positions"):
        await old.prune(rows[:3])
    assert await old.rows() == rows[2:]


async def test_nothing_goes_while_a_rebuild_reads_it(old: Old) -> None:
    await old.make_movable()
    rows = await old.rows()
    await old.owner.execute("INSERT INTO checkpoints VALUES ('rebuild', $1)", rows[-1].position - 1)
    await refused(old, rows, "a rebuild of the read models is under way")
    await old.owner.execute(
        "UPDATE checkpoints SET position = $1 WHERE follower = 'rebuild'", rows[-1].position
    )
    await old.prune(rows)


async def test_the_last_event_of_the_log_stays(old: Old) -> None:
    await old.stage.running_batch(lines=1)
    other = await old.stage.running_batch(lines=1)
    await old.stage.log.flush([flush_of(await old.stage.claim(other, lines=1), [0])])
    await old.seal()
    rows = await old.owner.fetch(f"SELECT {COLUMNS} FROM events WHERE stream_id = $1 ORDER BY 1 DESC", other)
    await refused(old, [LogRow(*rows[0])], "is the last one of the log")


async def test_an_open_batch_stays(old: Old) -> None:
    other = await old.stage.running_batch(lines=1)
    await old.stage.log.flush([flush_of(await old.stage.claim(other, lines=1), [0])])
    await old.make_movable()
    await old.owner.execute("SELECT set_config('batchmill.function', 'erase', false)")
    await old.owner.execute("DELETE FROM attachments")
    rows = await old.owner.fetch(
        f"SELECT {COLUMNS} FROM events WHERE stream_id = $1 AND type = 'LinesCompleted'", other
    )
    await refused(old, [LogRow(*row) for row in rows], "has not ended")


async def test_the_login_of_the_application_may_not(old: Old, database: Database) -> None:
    await old.make_movable()
    pools = await Pools.open(database.app_url, connections=2)
    with pytest.raises(SettingsError, match="database_owner_url"):
        await Moving(pools).require_right()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await Moving(pools).prune(await old.rows(), "audit/x", b"digest", 1)
    await old.moving.require_right()
    await pools.close()


async def test_nothing_is_open_behind_it(old: Old) -> None:
    await old.make_movable()
    rows = await old.rows()
    call = f"SELECT prune(ARRAY[{rows[0].position}], ARRAY['\\x{rows[0].digest.hex()}'::bytea], 'a', '', 1)"
    with pytest.raises(asyncpg.PostgresError, match="append-only"):
        await old.owner.execute(f"{call}; DELETE FROM events")
