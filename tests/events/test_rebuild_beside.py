"""A rebuild is seen by nobody: not by who writes, nor by who reads, nor after it died on the way."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from events.batch import Batch
from events.errors import NotFound
from events.failpoint import arm
from events.file import File
from events.rebuild import Progress, rebuild
from tests.events.stage import PROJECT, Stage, flush_of, open_stage
from tests.postgres import Database

LEASE = 0.5
TABLE = """
SELECT array(SELECT indexdef FROM pg_indexes WHERE tablename = 'read_models' ORDER BY 1) AS indexes,
       array(SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'read_models'::regclass ORDER BY 1)
           AS triggers,
       array(SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = 'read_models'::regclass AND contype = 'p') AS keys,
       (SELECT relacl::text || reloptions::text FROM pg_class WHERE oid = 'read_models'::regclass) AS rights
"""
ROWS = "SELECT id, created_at, hidden, version, state FROM read_models ORDER BY id"


@asynccontextmanager
async def owner_of(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_url)
    try:
        yield connection
    finally:
        await connection.close()


async def looks(stage: Stage, started: asyncio.Event, stop: asyncio.Event) -> int:
    """Makes files and batches, and holds each answer against what was made, until told to stop; says how many
    there were."""
    made: list[str] = []
    batch_id, counted, gone = await stage.running_batch(400), 0, ""
    claims = iter(await stage.claims(batch_id, range(0, 401, 4)))
    while not stop.is_set():
        made.append(await stage.file())
        assert (await stage.models.get(File, made[-1])).state.gone is False
        if len(made) % 5 == 0:
            gone = made.pop(0)
            await stage.delete_file(gone)
        if gone:
            with pytest.raises(NotFound):
                await stage.models.get(File, gone)
        if claim := next(claims, None):
            assert await stage.log.flush([flush_of(claim, claim.open_lines())]) == ["recorded"]
            counted += claim.lines
        assert (await stage.batch(batch_id)).completed == counted
        page = await stage.models.page(File, PROJECT, limit=10_000, newest_first=False)
        assert {seen.id for seen in page.objects} >= set(made)
        assert gone not in [seen.id for seen in page.objects]
        started.set()
    return len(made)


async def test_who_writes_and_reads_meanwhile_sees_nothing_of_it(database: Database) -> None:
    async with open_stage(database.app_url, connections=8, patience=30.0) as stage:
        for _ in range(200):
            await stage.file(project="other")
        started, stop = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(looks(stage, started, stop))
            await started.wait()
            for _ in range(3):
                await rebuild(database.app_url)
            stop.set()
        assert looking.result() > 0
        made = await rebuild(database.app_url)
        async with owner_of(database) as owner:
            assert await owner.fetchval("SELECT count(*) FROM read_models") == made.files + made.batches


async def test_a_row_that_was_edited_or_deleted_is_right_again(database: Database, stage: Stage) -> None:
    batch_id, edited, deleted = await stage.running_batch(10), await stage.file(), await stage.file()
    for kind, id in ((Batch, batch_id), (File, edited), (File, deleted)):
        await stage.project(kind, id)
    async with owner_of(database) as owner:
        before = await owner.fetch(ROWS)
        await owner.execute(
            "UPDATE read_models SET state = replace(state, '10', '11') WHERE id = $1", batch_id
        )
        await owner.execute("UPDATE read_models SET hidden = true WHERE id = $1", edited)
        await owner.execute("DELETE FROM read_models WHERE id = $1", deleted)
        await rebuild(database.app_url)
        after = await owner.fetch(ROWS)
    for was, became in zip(before, after, strict=True):
        moved = became["created_at"] - was["created_at"]
        assert moved.total_seconds() == 0 or (was["id"] == deleted and moved.total_seconds() > 0)
        assert dict(became) | {"created_at": None} == dict(was) | {"created_at": None}


async def test_the_table_is_what_it_was(database: Database, stage: Stage) -> None:
    await stage.file()
    async with owner_of(database) as owner:
        await owner.execute("GRANT SELECT ON read_models TO PUBLIC")
        before = await owner.fetchrow(TABLE)
        for _ in range(2):
            await rebuild(database.app_url)
        assert await owner.fetchrow(TABLE) == before
        assert await owner.fetchval("SELECT to_regclass('read_models_copy')") is None


async def test_a_copy_of_an_older_shape_never_takes_the_place(database: Database, stage: Stage) -> None:
    await stage.file()
    async with owner_of(database) as owner:
        head = await owner.fetchval("SELECT begin_copy(NULL, NULL)")
        await owner.execute("ALTER TABLE read_models ADD COLUMN later text")
        assert await owner.fetchval("SELECT swap_copy(NULL, NULL, $1, 500, '1s')", head) == "changed"
        await rebuild(database.app_url)
        assert await owner.fetch("SELECT later FROM read_models") != []


async def test_it_waits_for_who_holds_the_table_and_nobody_waits_for_it(
    database: Database, stage: Stage
) -> None:
    file_id = await stage.file()
    tries, tried = 0, asyncio.Event()

    def tell(progress: Progress) -> None:
        nonlocal tries
        tries += progress.doing == "swapping"
        if tries == 2:
            tried.set()

    async with owner_of(database) as dumping, asyncio.TaskGroup() as group, dumping.transaction():
        await dumping.fetch("SELECT id FROM read_models")
        rebuilding = group.create_task(rebuild(database.app_url, tell))
        await tried.wait()
        assert (await stage.models.get(File, file_id)).id == file_id
        assert not rebuilding.done()
    assert rebuilding.result().files == 1


POINTS = ["copy.before", "copy.after", "swap.before", "swap.after"]
MOMENT = "swap.before"
"""At which there is most to lose."""


@pytest.mark.parametrize("point", POINTS)
async def test_a_lost_connection_costs_time_and_nothing_else(
    database: Database, stage: Stage, point: str
) -> None:
    ids = sorted([await stage.file() for _ in range(5)])
    arm(f"{point}=raise")
    try:
        made = await rebuild(database.app_url, lease=LEASE)
    finally:
        arm("")
    assert made.files == 5
    page = await stage.models.page(File, PROJECT)
    assert sorted(seen.id for seen in page.objects) == ids


@pytest.mark.parametrize(
    "point",
    [*(pytest.param(point, marks=pytest.mark.soak) for point in POINTS if point != MOMENT), MOMENT],
)
async def test_killed_anywhere_it_has_changed_nothing_and_can_be_run_again(
    database: Database, stage: Stage, point: str
) -> None:
    ids = [await stage.file() for _ in range(5)]
    for id in ids:
        await stage.project(File, id)
    async with owner_of(database) as owner:
        before = await owner.fetch(ROWS)
        code = (
            f"import asyncio; from events.rebuild import rebuild; asyncio.run(rebuild({database.app_url!r}))"
        )
        dying = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code),
            env=os.environ | {"BATCHMILL_FAILPOINTS": f"{point}=kill"},
            start_new_session=True,
            stdout=PIPE,
        )
        assert await dying.wait() == -signal.SIGKILL
        assert await owner.fetch(ROWS) == before
        late = await stage.file()
        assert (await rebuild(database.app_url, lease=LEASE)).files == 6
        page = await stage.models.page(File, PROJECT, newest_first=False)
        assert [seen.id for seen in page.objects] == [*ids, late]


async def test_two_at_once_take_turns(database: Database, stage: Stage) -> None:
    await stage.file()
    made = await asyncio.gather(*(rebuild(database.app_url, lease=5.0) for _ in range(2)))
    assert [each.files for each in made] == [1, 1]
