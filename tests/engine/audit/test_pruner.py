"""What was pruned is read by everybody as before, and proven as before; whoever prunes may die anywhere."""

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from engine.audit.progress import Progress
from engine.audit.pruner import NotAsSealed
from engine.audit.sealer import Sealer
from engine.audit.signer import KeySigner
from engine.audit.witnesses import Witnesses
from events import failpoint
from events.audit.bundle.export import BundleExport
from events.audit.records import AuditRecords
from events.incarnation import begin_incarnation
from events.rebuild import rebuild
from tests.engine.audit.mill import KEY
from tests.engine.audit.pruned_log import everything, fetch, first_moved, kinds, opened, prune, replayed
from tests.engine.audit.sealed_log import SealedLog, auditor, copy_objects, verified
from tests.engine.recorded import world_on
from tests.postgres import Database, PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


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


async def test_everybody_reads_on_as_if_nothing_had_been_moved(
    whole_log: SealedLog, pruned_log: SealedLog, pruned_copy: SealedLog, postgres_server: PostgresServer
) -> None:
    async with postgres_server.new_database(whole_log.database.name) as before:
        expected = await everything(before, whole_log.folder, page=17)
    assert await everything(pruned_copy.database, pruned_copy.folder, page=17) == expected


async def test_only_outcomes_of_lines_go_and_only_of_batches_without_results(
    whole_log: SealedLog, pruned_log: SealedLog
) -> None:
    before, after = await kinds(whole_log.database), await kinds(pruned_log.database)
    assert {kind for kind in before if before[kind] != after.get(kind)} == {"LinesCompleted"}
    moved = await fetch(pruned_log.database, "SELECT DISTINCT stream_id FROM segment_streams")
    erased = await fetch(
        whole_log.database,
        "SELECT stream_id FROM events e WHERE type = 'BatchCompleted' AND EXISTS (SELECT 1 FROM events g "
        "WHERE g.type = 'FileDeleted' AND g.stream_id = e.data::json ->> 'output_file_id')",
    )
    assert {row["stream_id"] for row in moved} == {row["stream_id"] for row in erased}


async def test_a_pruned_log_is_clean_and_gives_what_is_served(pruned_log: SealedLog) -> None:
    report = await verified(pruned_log.database, pruned_log.folder, pruned_log.witnessed)
    assert report.defects == []
    assert report.events == report.head == report.sealed
    assert await replayed(pruned_log.database, pruned_log.folder) == 0


async def test_a_dry_run_moves_nothing_and_tells_the_same(
    whole_log: SealedLog, pruned_log: SealedLog, postgres_server: PostgresServer
) -> None:
    async with postgres_server.new_database(whole_log.database.name) as database:
        before = await kinds(database)
        done = await prune(database, whole_log.folder, dry=True)
        assert await kinds(database) == before
        assert not list(whole_log.folder.glob("audit/*/segments/*"))
    [moved] = await fetch(pruned_log.database, "SELECT count(*), sum(bytes)::bigint FROM segments")
    assert (done.segments, done.stored) == tuple(moved)
    assert done.events == before["LinesCompleted"] - (await kinds(pruned_log.database))["LinesCompleted"]


async def test_a_second_one_finds_nothing(pruned_copy: SealedLog) -> None:
    done = await prune(pruned_copy.database, pruned_copy.folder)
    assert (done.events, done.segments) == (0, 0)
    assert done.kept == (await kinds(pruned_copy.database))["LinesCompleted"]


async def test_what_ended_later_stays(
    whole_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    async with postgres_server.new_database(whole_log.database.name) as database:
        done = await prune(database, whole_log.folder, older_than=timedelta(days=1))
    assert (done.events, done.end) == (0, 0)


async def test_broken_off_anywhere_it_is_run_again(
    whole_log: SealedLog, pruned_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = copy_objects(whole_log.folder, tmp_path / "objects")
    async with postgres_server.new_database(whole_log.database.name) as database:
        for step in ("prune.before", "segment.before", "prune.after", "segment.after"):
            failpoint.arm(f"{step}=raise")
            try:
                with pytest.raises(failpoint.FailpointRaised):
                    await prune(database, folder)
            finally:
                failpoint.arm("")
        assert (await verified(database, folder, whole_log.witnessed)).defects == []
        await prune(database, folder)
        assert await kinds(database) == await kinds(pruned_log.database)
        assert (await verified(database, folder, whole_log.witnessed)).clean
    assert {file.name for file in folder.glob("audit/*/segments/*")} == {
        file.name for file in pruned_log.folder.glob("audit/*/segments/*")
    }


async def test_two_at_once_move_each_event_once(
    whole_log: SealedLog, pruned_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = copy_objects(whole_log.folder, tmp_path / "objects")
    async with postgres_server.new_database(whole_log.database.name) as database:
        results = await asyncio.gather(*(prune(database, folder) for _ in range(2)), return_exceptions=True)
        assert {type(result).__name__ for result in results} <= {"Pruned", "BatchmillError"}
        await prune(database, folder)
        assert await kinds(database) == await kinds(pruned_log.database)
        assert (await verified(database, folder, whole_log.witnessed)).clean


async def test_a_verification_does_not_mind_what_is_moved_meanwhile(
    whole_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = copy_objects(whole_log.folder, tmp_path / "objects")
    moved: list[int] = []

    async def move(progress: Progress) -> None:
        if not moved:
            moved.append((await prune(database, folder)).events)

    async with (
        postgres_server.new_database(whole_log.database.name) as database,
        auditor(database, folder, whole_log.witnessed, page=20) as verifier,
    ):
        report = await verifier.run(await verifier.begin(), move)
    assert moved[0] > 0
    assert report.defects == []
    assert report.events == report.head


async def test_the_evidence_of_a_pruned_batch_is_the_same(
    whole_log: SealedLog, pruned_log: SealedLog, postgres_server: PostgresServer
) -> None:
    [row, *_] = await fetch(pruned_log.database, "SELECT stream_id FROM segment_streams")
    bundles = []
    for log in (whole_log, pruned_log):
        async with (
            postgres_server.new_database(log.database.name) as database,
            opened(database.app_url, log.folder) as (connections, store),
        ):
            export = BundleExport(connections, store)
            sealed = await export.sealed(row["stream_id"])
            bundles.append([piece async for piece in export.pieces(sealed, "bodies")])
    assert bundles[0] == bundles[1]


async def test_the_tree_is_made_anew_from_rows_and_segments(pruned_copy: SealedLog) -> None:
    shutil.rmtree(next(pruned_copy.folder.glob("audit/*/tile")))
    await seal(pruned_copy.database, pruned_copy.folder)
    assert (await verified(pruned_copy.database, pruned_copy.folder, pruned_copy.witnessed)).clean
    await begin_incarnation(pruned_copy.database.owner_url, "restored")
    await seal(pruned_copy.database, pruned_copy.folder)
    report = await verified(pruned_copy.database, pruned_copy.folder, [])
    assert report.clean
    assert report.events == report.head == report.sealed
    assert (await prune(pruned_copy.database, pruned_copy.folder)).events == 0


async def test_read_models_are_rebuilt_from_rows_and_segments(pruned_copy: SealedLog) -> None:
    rows = "SELECT id, version, state FROM read_models ORDER BY id"
    before = await fetch(pruned_copy.database, rows)
    await fetch(pruned_copy.database, "DELETE FROM read_models")
    async with opened(pruned_copy.database.app_url, pruned_copy.folder) as (_, store):
        await rebuild(pruned_copy.database.app_url, store=store)
    assert await fetch(pruned_copy.database, rows) == before


async def test_nothing_is_moved_that_is_not_what_was_sealed(
    whole_log: SealedLog, pruned_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = copy_objects(whole_log.folder, tmp_path / "objects")
    stream, version, _ = await first_moved(pruned_log.database)
    async with postgres_server.new_database(whole_log.database.name) as database:
        await fetch(
            database,
            "UPDATE events SET metadata = '{\"x\":1}' WHERE stream_id = $1 AND version = $2",
            stream,
            version + 1,
        )
        with pytest.raises(NotAsSealed, match="batchmill audit verify"):
            await prune(database, folder)
        assert await fetch(database, "SELECT 1 FROM segments") == []
