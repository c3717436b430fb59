"""What was pruned is read by everybody as before, is proven as before, and its loss is found and named."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from engine.audit.progress import Progress, Report
from engine.audit.pruner import NotAsSealed
from engine.audit.sealer import Sealer
from engine.audit.signer import KeySigner
from engine.audit.witnesses import Witnesses
from events import failpoint
from events.audit.bundle.export import BundleExport
from events.audit.digests import COLUMNS, LogRow
from events.audit.records import AuditRecords
from events.audit.replay import Replay
from events.incarnation import begin_incarnation
from events.rebuild import rebuild
from events.segments.segments import Segments
from events.segments.shelf import SegmentDamaged
from tests.engine.audit.mill import KEY
from tests.engine.audit.pruned_log import everything, opened, project_all, prune
from tests.engine.audit.sealed_log import (
    SealedLog,
    auditor,
    copy_objects,
    make_sealed_log,
    shown_to_nobody,
    verified,
)
from tests.engine.recorded import world_on
from tests.postgres import Database, PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="session")
MOVED = {"LinesCompleted", "LinesIndexed"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def whole(
    postgres_server: PostgresServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SealedLog]:
    """A log of which nothing was moved yet: one of its batches could be."""
    folder = tmp_path_factory.mktemp("whole") / "objects"
    async with postgres_server.new_database(migrated_template.name) as database:
        sealed = await make_sealed_log(database, folder, batches=4, lines=24)
        await project_all(database, folder)
        yield sealed


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pruned(
    whole: SealedLog, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SealedLog]:
    """The same when they are moved."""
    folder = copy_objects(whole.folder, tmp_path_factory.mktemp("pruned") / "objects")
    async with postgres_server.new_database(whole.database.name) as database:
        done = await prune(database, folder)
        assert done.segments > 2
        yield SealedLog(database, folder, whole.witnessed)


@pytest_asyncio.fixture(loop_scope="session")
async def copy(
    pruned: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> AsyncIterator[SealedLog]:
    """One to do something to."""
    folder = copy_objects(pruned.folder, tmp_path / "objects")
    async with postgres_server.new_database(pruned.database.name) as database:
        yield SealedLog(database, folder, pruned.witnessed)


async def fetch(database: Database, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(
        database.superuser_url, server_settings={"session_replication_role": "replica"}
    )
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


async def kinds(database: Database) -> dict[str, int]:
    rows = await fetch(database, "SELECT type, count(*) FROM events GROUP BY type")
    return {row["type"]: row["count"] for row in rows}


async def seal(database: Database, folder: Path) -> None:
    """What a leader does that begins anew, when something has happened."""
    async with world_on(database.app_url, folder) as world:
        await world.file(b"one more event\n")
        sealer = Sealer(
            world.journal,
            AuditRecords(world.database, world.store),
            world.store,
            KeySigner([KEY]),
            Witnesses([]),
        )
        await sealer.seal(await sealer.open(world.leadership), world.leadership)


async def replayed(database: Database, folder: Path) -> int:
    async with opened(database.app_url, folder) as (connections, store):
        return (await Replay(connections, store, hashed=True, page=50).run()).different


async def test_everybody_reads_on_as_if_nothing_had_been_moved(
    whole: SealedLog, pruned: SealedLog, copy: SealedLog, postgres_server: PostgresServer
) -> None:
    async with postgres_server.new_database(whole.database.name) as before:
        expected = await everything(before, whole.folder, page=7)
    assert await everything(copy.database, copy.folder, page=7) == expected


async def test_only_outcomes_of_lines_go_and_only_of_batches_without_results(
    whole: SealedLog, pruned: SealedLog
) -> None:
    before, after = await kinds(whole.database), await kinds(pruned.database)
    assert {kind for kind in before if before[kind] != after.get(kind)} == {"LinesCompleted"}
    moved = await fetch(pruned.database, "SELECT DISTINCT stream_id FROM segment_streams")
    erased = await fetch(
        whole.database,
        "SELECT stream_id FROM events e WHERE type = 'BatchCompleted' AND EXISTS (SELECT 1 FROM events g "
        "WHERE g.type = 'FileDeleted' AND g.stream_id = e.data::json ->> 'output_file_id')",
    )
    assert {row["stream_id"] for row in moved} == {row["stream_id"] for row in erased}


async def test_a_pruned_log_is_clean_and_gives_what_is_served(pruned: SealedLog) -> None:
    report = await verified(pruned.database, pruned.folder, pruned.witnessed)
    assert report.defects == []
    assert report.events == report.head == report.sealed
    assert await replayed(pruned.database, pruned.folder) == 0


async def test_a_dry_run_moves_nothing_and_tells_the_same(
    whole: SealedLog, pruned: SealedLog, postgres_server: PostgresServer
) -> None:
    async with postgres_server.new_database(whole.database.name) as database:
        before = await kinds(database)
        done = await prune(database, whole.folder, dry=True)
        assert await kinds(database) == before
        assert not list(whole.folder.glob("audit/*/segments/*"))
    [moved] = await fetch(pruned.database, "SELECT count(*), sum(bytes)::bigint FROM segments")
    assert (done.segments, done.stored) == tuple(moved)
    assert done.events == before["LinesCompleted"] - (await kinds(pruned.database))["LinesCompleted"]


async def test_a_second_one_finds_nothing(copy: SealedLog) -> None:
    done = await prune(copy.database, copy.folder)
    assert (done.events, done.segments) == (0, 0)
    assert done.kept == (await kinds(copy.database))["LinesCompleted"]


async def test_what_ended_later_stays(
    whole: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    async with postgres_server.new_database(whole.database.name) as database:
        done = await prune(database, whole.folder, before=datetime(2020, 1, 1, tzinfo=UTC))
    assert (done.events, done.end) == (0, 0)


async def test_broken_off_anywhere_it_is_run_again(
    whole: SealedLog, pruned: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = copy_objects(whole.folder, tmp_path / "objects")
    async with postgres_server.new_database(whole.database.name) as database:
        for step in ("prune.before", "segment.before", "prune.after", "segment.after"):
            failpoint.arm(f"{step}=raise")
            with pytest.raises(failpoint.FailpointRaised):
                await prune(database, folder)
            failpoint.arm("")
            assert (await verified(database, folder, whole.witnessed)).defects == []
        await prune(database, folder)
        assert await kinds(database) == await kinds(pruned.database)
        assert (await verified(database, folder, whole.witnessed)).clean
    assert {file.name for file in folder.glob("audit/*/segments/*")} == {
        file.name for file in pruned.folder.glob("audit/*/segments/*")
    }


async def test_two_at_once_move_each_event_once(
    whole: SealedLog, pruned: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = copy_objects(whole.folder, tmp_path / "objects")
    async with postgres_server.new_database(whole.database.name) as database:
        results = await asyncio.gather(*(prune(database, folder) for _ in range(2)), return_exceptions=True)
        assert {type(result).__name__ for result in results} <= {"Pruned", "BatchmillError"}
        await prune(database, folder)
        assert await kinds(database) == await kinds(pruned.database)
        assert (await verified(database, folder, whole.witnessed)).clean


def lose(one: Path, other: Path, dice: Random) -> None:
    one.unlink()


def flip(one: Path, other: Path, dice: Random) -> None:
    content = bytearray(one.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    one.write_bytes(content)


def cut(one: Path, other: Path, dice: Random) -> None:
    content = one.read_bytes()
    one.write_bytes(content[: dice.randrange(len(content))])


def lengthen(one: Path, other: Path, dice: Random) -> None:
    one.write_bytes(one.read_bytes() + b"\0")


def swap(one: Path, other: Path, dice: Random) -> None:
    here, there = one.read_bytes(), other.read_bytes()
    one.write_bytes(there)
    other.write_bytes(here)


def put_another(one: Path, other: Path, dice: Random) -> None:
    one.write_bytes(other.read_bytes())


@pytest.mark.parametrize(
    ("hand", "kind"),
    [
        (lose, "segment_deleted"),
        (flip, "segment_changed"),
        (cut, "segment_changed"),
        (lengthen, "segment_changed"),
        (swap, "segment_swapped"),
        (put_another, "segment_swapped"),
    ],
)
async def test_whatever_is_done_to_a_segment_is_one_defect(
    copy: SealedLog, hand: Callable[[Path, Path, Random], None], kind: str
) -> None:
    dice = Random(f"{hand.__name__}")
    segments = sorted(copy.folder.glob("audit/*/segments/*"))
    one, other = dice.sample(segments, 2)
    hand(one, other, dice)
    report = await verified(copy.database, copy.folder, copy.witnessed)
    assert [defect.kind for defect in report.defects] == [kind]
    [defect] = report.defects
    named = {(int(first), int(last)) for first, last, _ in (file.name.split("-") for file in (one, other))}
    assert (defect.position, defect.upto) in named
    assert f"the segment {defect.position} to {defect.upto} of the log" in defect.told
    with pytest.raises(SegmentDamaged, match="batchmill audit verify"):
        await replayed(copy.database, copy.folder)


async def in_steps(log: SealedLog) -> Report:
    """Verified by another process after each page."""
    kept = b""
    while True:
        async with auditor(log.database, log.folder, log.witnessed, page=30) as verifier:
            progress = msgspec.json.decode(kept, type=Progress) if kept else await verifier.begin()

            async def stop(progress: Progress) -> None:
                nonlocal kept
                kept = msgspec.json.encode(progress)
                raise EOFError

            try:
                return await verifier.run(progress, stop)
            except EOFError:
                continue


async def test_a_verification_with_a_damaged_segment_goes_on_from_any_page(copy: SealedLog) -> None:
    sorted(copy.folder.glob("audit/*/segments/*"))[1].unlink()
    report = await in_steps(copy)
    assert [defect.kind for defect in report.defects] == ["segment_deleted"]


async def test_an_event_deleted_beside_a_damaged_segment_is_named_too(copy: SealedLog) -> None:
    [segment] = await fetch(copy.database, "SELECT first, name FROM segments ORDER BY first LIMIT 1")
    (copy.folder / segment["name"]).unlink()
    position = segment["first"] - 1
    await fetch(copy.database, "DELETE FROM events WHERE position = $1", position)
    report = await verified(copy.database, copy.folder, copy.witnessed)
    assert {(defect.kind, defect.position) for defect in report.defects} == {
        ("segment_deleted", segment["first"]),
        ("event_deleted", position),
    }


async def test_an_index_of_segments_that_was_cut_is_a_deletion_of_events(copy: SealedLog) -> None:
    [segment] = await fetch(
        copy.database, "DELETE FROM segments WHERE first = (SELECT min(first) FROM segments) RETURNING first"
    )
    report = await verified(copy.database, copy.folder, copy.witnessed)
    assert {defect.kind for defect in report.defects} == {"event_deleted"}
    assert min(defect.position or 0 for defect in report.defects) == segment["first"]


async def test_a_pruned_batch_is_verified_alone(copy: SealedLog) -> None:
    [row, *_] = await fetch(copy.database, "SELECT stream_id, segment FROM segment_streams ORDER BY segment")
    async with auditor(copy.database, copy.folder, copy.witnessed) as verifier:
        report = await verifier.run_batch(row["stream_id"], shown_to_nobody)
        assert report.defects == []
        assert report.events > 10
    [file] = copy.folder.glob(f"audit/*/segments/{row['segment']}-*")
    file.unlink()
    async with auditor(copy.database, copy.folder, copy.witnessed) as verifier:
        report = await verifier.run_batch(row["stream_id"], shown_to_nobody)
    assert [defect.kind for defect in report.defects] == ["segment_deleted"]


async def test_the_evidence_of_a_pruned_batch_is_the_same(
    whole: SealedLog, pruned: SealedLog, postgres_server: PostgresServer
) -> None:
    [row, *_] = await fetch(pruned.database, "SELECT stream_id FROM segment_streams")
    bundles = []
    for log in (whole, pruned):
        async with (
            postgres_server.new_database(log.database.name) as database,
            opened(database.app_url, log.folder) as (connections, store),
        ):
            export = BundleExport(connections, store)
            sealed = await export.sealed(row["stream_id"])
            bundles.append([piece async for piece in export.pieces(sealed, "bodies")])
    assert bundles[0] == bundles[1]


async def test_the_tree_is_made_anew_from_rows_and_segments(copy: SealedLog) -> None:
    shutil.rmtree(next(copy.folder.glob("audit/*/tile")))
    await seal(copy.database, copy.folder)
    assert (await verified(copy.database, copy.folder, copy.witnessed)).clean
    await begin_incarnation(copy.database.owner_url, "restored")
    await seal(copy.database, copy.folder)
    report = await verified(copy.database, copy.folder, [])
    assert report.clean
    assert report.events == report.head == report.sealed
    assert (await prune(copy.database, copy.folder)).events == 0


async def test_a_database_of_before_the_prune_goes_with_the_storage_of_after_it(
    whole: SealedLog, pruned: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = copy_objects(pruned.folder, tmp_path / "objects")
    async with postgres_server.new_database(whole.database.name) as database:
        assert (await verified(database, folder, whole.witnessed)).clean
        await begin_incarnation(database.owner_url, "restored")
        await seal(database, folder)
        assert (await prune(database, folder)).events > 0
        assert (await verified(database, folder, [])).clean
        assert await replayed(database, folder) == 0


async def test_an_event_that_is_a_row_as_well_counts_once_as_the_row(copy: SealedLog) -> None:
    async with opened(copy.database.app_url, copy.folder) as (connections, store):
        [row] = [
            row async for row in Segments(connections, store).of_stream(*await first_moved(copy.database))
        ]
    columns = ", ".join(f"${number}" for number in range(1, 14))
    await fetch(copy.database, f"INSERT INTO events VALUES ({columns})", *_columns(row))
    report = await verified(copy.database, copy.folder, copy.witnessed)
    assert report.defects == []
    assert report.events == report.head
    await fetch(copy.database, "UPDATE events SET data = '{}' WHERE position = $1", row.position)
    report = await verified(copy.database, copy.folder, copy.witnessed)
    assert [(defect.kind, defect.position) for defect in report.defects] == [("event_changed", row.position)]


async def first_moved(database: Database) -> tuple[str, int, int]:
    """Of a stream the versions around the first one that was moved."""
    [row, *_] = await fetch(database, "SELECT stream_id, first_version FROM segment_streams ORDER BY 1, 2")
    return row["stream_id"], row["first_version"] - 1, row["first_version"] + 1


def _columns(row: LogRow) -> list[object]:
    return [getattr(row, name) for name in COLUMNS.split(", ")]


async def test_read_models_are_rebuilt_from_rows_and_segments(copy: SealedLog) -> None:
    rows = "SELECT id, version, state FROM read_models ORDER BY id"
    before = await fetch(copy.database, rows)
    await fetch(copy.database, "DELETE FROM read_models")
    async with opened(copy.database.app_url, copy.folder) as (_, store):
        await rebuild(copy.database.app_url, store=store)
    assert await fetch(copy.database, rows) == before


async def test_nothing_is_moved_that_is_not_what_was_sealed(
    whole: SealedLog, pruned: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = copy_objects(whole.folder, tmp_path / "objects")
    stream, version, _ = await first_moved(pruned.database)
    async with postgres_server.new_database(whole.database.name) as database:
        await fetch(
            database,
            "UPDATE events SET metadata = '{\"x\":1}' WHERE stream_id = $1 AND version = $2",
            stream,
            version + 1,
        )
        with pytest.raises(NotAsSealed, match="batchmill audit verify"):
            await prune(database, folder)
        assert await fetch(database, "SELECT 1 FROM segments") == []
