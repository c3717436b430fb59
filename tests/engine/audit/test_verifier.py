"""Whatever was done to a sealed log is found, once, and named; where nothing was done, nothing is."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from engine.audit.checkpoints import UNSIGNED
from engine.audit.progress import Progress, Report
from engine.audit.sealer import Sealer
from engine.audit.signer import KeySigner
from engine.audit.witnesses import Witnesses
from engine.eraser import Eraser
from engine.finalizer import Finalizer
from events.audit.checkpoint import Checkpoint, parse_checkpoint
from events.audit.note import parse_note, sign
from events.audit.records import AuditRecords
from events.errors import NotFound
from events.incarnation import begin_incarnation
from storage.store import ObjectMissing
from tests.chaos.seed import SEED
from tests.engine.audit.corruption import KINDS, corrupt
from tests.engine.audit.hand import DIGESTED, TABLES, Done
from tests.engine.audit.mill import KEY, NEXT_KEY
from tests.engine.audit.sealed_log import (
    SealedLog,
    auditor,
    copy_objects,
    make_sealed_log,
    shown_to_nobody,
    verified,
)
from tests.engine.recorded import request_line, world_on
from tests.postgres import Database, PostgresServer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sealed_log(
    postgres_server: PostgresServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SealedLog]:
    """Made once, never connected to again: what is corrupted is a copy."""
    async with postgres_server.new_database(migrated_template.name) as database:
        yield await make_sealed_log(database, tmp_path_factory.mktemp("sealed") / "objects")


async def found(
    kind: str, seed: int, sealed_log: SealedLog, server: PostgresServer, folder: Path
) -> tuple[Done, Report]:
    async with server.new_database(sealed_log.database.name) as database:
        objects = copy_objects(sealed_log.folder, folder)
        done = await corrupt(kind, database, objects, sealed_log.witnessed, Random(seed))
        report = await verified(database, objects, sealed_log.witnessed)
    shutil.rmtree(objects)
    return done, report


def wrongly(done: Done, report: Report) -> str:
    """What is wrong with a report; nothing for one that is right."""
    if len(report.defects) != 1:
        return f"{len(report.defects)} defects"
    [defect] = report.defects
    if defect.kind not in done.kinds:
        return f"called {defect.kind}"
    if done.positions and defect.position not in done.positions:
        return f"at position {defect.position}"
    if done.keys and not any((defect.key or "").startswith(key) for key in done.keys):
        return f"of {defect.key}"
    return ""


@pytest.mark.asyncio(loop_scope="session")
async def test_what_was_not_touched_is_clean(sealed_log: SealedLog, postgres_server: PostgresServer) -> None:
    async with postgres_server.new_database(sealed_log.database.name) as database:
        report = await verified(database, sealed_log.folder, sealed_log.witnessed)
    assert report.defects == []
    assert report.clean
    assert report.events == report.head == report.sealed
    assert min(report.attachments, report.erased, report.files, report.results, report.checkpoints) > 1


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("kind", KINDS)
async def test_each_corruption_is_found_and_named(
    kind: str, sealed_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    for seed in (1, 2):
        done, report = await found(kind, seed, sealed_log, postgres_server, tmp_path / "objects")
        assert not wrongly(done, report), (done, report.defects)


@pytest.mark.soak
@pytest.mark.asyncio(loop_scope="session")
async def test_three_hundred_corruptions_are_found_and_named(
    sealed_log: SealedLog,
    postgres_server: PostgresServer,
    tmp_path: Path,
    record_property: pytest.FixtureRequest,
) -> None:
    missed = []
    table = {kind: [0, 0] for kind in KINDS}
    for number in range(300):
        kind = list(KINDS)[number % len(KINDS)]
        seed = 1000 * SEED + number
        done, report = await found(kind, seed, sealed_log, postgres_server, tmp_path / "objects")
        wrong = wrongly(done, report)
        table[kind][0] += bool(report.defects)
        table[kind][1] += not wrong
        if wrong:
            missed.append((number, kind, wrong, done, report.defects))
    rows = [f"{kind:26} {found:3} found {named:3} named" for kind, (found, named) in table.items()]
    print("\n".join([f"seed {SEED}:", *rows]))
    assert missed == []


@pytest.mark.asyncio(loop_scope="session")
async def test_a_verification_goes_on_from_any_page(
    sealed_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Kept as text after each page, and gone on with by another process; on a log with a defect."""
    async with postgres_server.new_database(sealed_log.database.name) as database:
        objects = copy_objects(sealed_log.folder, tmp_path / "objects")
        await _execute(database, "UPDATE read_models SET hidden = NOT hidden WHERE kind = 'key'")
        await corrupt("checkpoint replaced", database, objects, sealed_log.witnessed, Random(1))
        at_once = await verified(database, objects, sealed_log.witnessed)
        kept, goings = b"", 0
        while True:
            async with auditor(database, objects, sealed_log.witnessed, page=40) as verifier:
                progress = msgspec.json.decode(kept, type=Progress) if kept else await verifier.begin()
                goings += 1
                try:
                    in_steps = await verifier.run(progress, Stopped().show)
                    break
                except Stopped as stopped:
                    kept = stopped.kept
    assert goings > 5
    assert in_steps == at_once
    assert {defect.kind for defect in in_steps.defects} == {"read_model_edited", "checkpoint_replaced"}


@pytest.mark.asyncio(loop_scope="session")
async def test_a_part_of_the_log_is_verified_from_the_checkpoint_before_it(
    sealed_log: SealedLog, postgres_server: PostgresServer
) -> None:
    middle = sealed_log.witnessed[len(sealed_log.witnessed) // 2].checkpoint.size
    async with postgres_server.new_database(sealed_log.database.name) as database:
        await _execute(
            database, "UPDATE events SET data = '{}' WHERE position IN ($1, $2)", middle - 3, middle + 3
        )
        async with auditor(database, sealed_log.folder, sealed_log.witnessed) as verifier:
            report = await verifier.run(await verifier.begin(middle + 1), shown_to_nobody)
    assert report.first == middle + 1
    assert report.events == report.head - middle
    assert [(defect.kind, defect.position) for defect in report.defects] == [("event_changed", middle + 3)]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_batch_is_verified_with_its_files(
    sealed_log: SealedLog, postgres_server: PostgresServer
) -> None:
    async with postgres_server.new_database(sealed_log.database.name) as database:
        [row, *_] = await _fetch(database, "SELECT stream_id FROM events WHERE type = 'BatchExpired'")
        batch = row["stream_id"]
        async with auditor(database, sealed_log.folder, sealed_log.witnessed) as verifier:
            report = await verifier.run_batch(batch, shown_to_nobody)
            assert report.defects == []
            assert (report.files, report.results) == (3, 1)
            [row, *_] = await _fetch(
                database, "SELECT position FROM events WHERE stream_id = $1 ORDER BY version OFFSET 4", batch
            )
            await _execute(
                database, "UPDATE events SET digest = sha256('other') WHERE position = $1", row["position"]
            )
            report = await verifier.run_batch(batch, shown_to_nobody)
            assert {(d.kind, d.position) for d in report.defects} == {("event_changed", row["position"])}
            with pytest.raises(NotFound):
                await verifier.run_batch("batch_0", shown_to_nobody)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_tile_that_was_changed_is_told_from_a_changed_event(
    sealed_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    objects = copy_objects(sealed_log.folder, tmp_path / "objects")
    size = sealed_log.witnessed[-1].checkpoint.size
    [tile] = objects.glob(f"audit/*/tile/0/000.p/{size}")
    tile.write_bytes(tile.read_bytes()[:-40] + bytes(40))
    async with postgres_server.new_database(sealed_log.database.name) as database:
        report = await verified(database, objects, sealed_log.witnessed)
        assert [defect.kind for defect in report.defects] == ["tile_changed"]
        tile.unlink()
        report = await verified(database, objects, sealed_log.witnessed)
        assert [defect.kind for defect in report.defects] == ["tile_missing"]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_log_that_was_sealed_is_not_clean_by_a_key_that_signed_nothing(
    sealed_log: SealedLog, postgres_server: PostgresServer
) -> None:
    async with (
        postgres_server.new_database(sealed_log.database.name) as database,
        auditor(database, sealed_log.folder, [], key=NEXT_KEY) as verifier,
    ):
        report = await verifier.run(await verifier.begin(), shown_to_nobody)
    assert [defect.told for defect in report.defects] == [UNSIGNED]
    assert (report.sealed, report.unsealed_from) == (0, 1)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_history_written_anew_is_not_what_the_witness_was_told(
    sealed_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Events changed, digests, tiles and checkpoints made again, and signed with the stolen key."""
    objects = copy_objects(sealed_log.folder, tmp_path / "objects")
    async with postgres_server.new_database(sealed_log.database.name) as database:
        await _execute(database, "UPDATE events SET metadata = '{}' WHERE position = 30")
        await _execute(database, DIGESTED, 30)
        await _execute(database, "DELETE FROM signed_checkpoints")
        shutil.rmtree(objects / "audit")
        await _sealed_anew(database, objects)
        alone = await verified(database, objects, [])
        # Without the witness it fits but for what ends of batches name.
        assert {defect.kind for defect in alone.defects} == {"checkpoint_replaced"}
        report = await verified(database, objects, sealed_log.witnessed)
    assert [defect.kind for defect in report.defects] == ["history_rewritten"]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_checkpoint_that_storage_keeps_for_good_is_held_against_the_tree(
    sealed_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    objects = copy_objects(sealed_log.folder, tmp_path / "objects")
    [place] = objects.glob("audit/*/checkpoints/*")
    genuine = parse_checkpoint(parse_note(place.read_bytes()).text)
    other = Checkpoint(genuine.origin, genuine.size, bytes(32))
    async with postgres_server.new_database(sealed_log.database.name) as database:
        for content, key in (
            (sign(other.text, [KEY]).encode(), f"storage/{genuine.size}"),
            (sign(genuine.text, [NEXT_KEY]).encode(), f"storage/{genuine.size}"),
            ("nothing", f"storage/checkpoints/{place.name}/0"),
        ):
            place.write_text(content)
            [defect] = (await verified(database, objects, sealed_log.witnessed)).defects
            assert (defect.kind, defect.key) == ("checkpoint_replaced", key)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_checkpoint_that_an_end_of_a_batch_names_must_be_kept(
    sealed_log: SealedLog, postgres_server: PostgresServer
) -> None:
    named = "SELECT position, (data::json -> 'checkpoint' ->> 'size')::bigint AS size FROM events "
    async with postgres_server.new_database(sealed_log.database.name) as database:
        rows = await _fetch(database, named + "WHERE data LIKE '%\"checkpoint\":{%' ORDER BY position")
        await _execute(database, "DELETE FROM signed_checkpoints WHERE size = $1", rows[0]["size"])
        [defect] = (await verified(database, sealed_log.folder, sealed_log.witnessed)).defects
    assert (defect.kind, defect.position) == ("checkpoint_replaced", rows[0]["position"])
    assert defect.key == f"the database/{rows[0]['size']}"


@pytest.mark.asyncio(loop_scope="session")
async def test_parts_of_a_pending_upload_are_looked_at(
    sealed_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    objects = copy_objects(sealed_log.folder, tmp_path / "objects")
    parts = "SELECT data::json ->> 'part_id' AS id, data::json ->> 'storage_key' AS key FROM events "
    async with postgres_server.new_database(sealed_log.database.name) as database:
        rows = await _fetch(database, parts + "WHERE type = 'UploadPartAdded' ORDER BY position")
        first, second = (next(objects.rglob(row["key"].rpartition("/")[2])) for row in rows)
        first.write_bytes(b"another part")
        second.unlink()
        report = await verified(database, objects, sealed_log.witnessed)
    assert [(defect.kind, defect.key) for defect in report.defects] == [
        ("file_changed", rows[0]["id"]),
        ("file_deleted", rows[1]["id"]),
    ]


async def test_results_of_lines_never_run_are_clean_when_their_input_is_gone_by_right(
    database: Database, tmp_path: Path
) -> None:
    async with world_on(database.app_url, tmp_path) as world:
        batch = await world.batch([request_line(n) for n in range(4)])
        await batch.record_lines([1])
        await batch.expire()
        await Finalizer(world.journal, world.store, world.options).finalize(batch.id)
        await world.delete_file(batch.input_file_id)
        eraser = Eraser(world.log, world.models, world.board, world.store)
        await eraser.handle(await world.log.read(after=0))
        with pytest.raises(ObjectMissing):
            await world.store.read(await world.object_of(batch.input_file_id), 0, 1)
        records = AuditRecords(world.database)
        sealer = Sealer(world.journal, records, world.store, KeySigner([KEY]), Witnesses([]))
        await sealer.seal(await sealer.open(world.leadership), world.leadership)
    assert (await verified(database, tmp_path, [])).defects == []


@pytest.mark.asyncio(loop_scope="session")
async def test_what_a_forked_log_took_over_is_held_against_what_was_signed_before(
    sealed_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    objects, last = copy_objects(sealed_log.folder, tmp_path / "objects"), sealed_log.witnessed[-1].checkpoint
    async with postgres_server.new_database(sealed_log.database.name) as database:
        await begin_incarnation(database.owner_url, "restored")
        report = await verified(database, objects, sealed_log.witnessed)
        assert (report.defects, report.anchor) == ([], None)
        await _sealed_anew(database, objects)
        assert (await verified(database, objects, sealed_log.witnessed)).defects == []
        for change, position in (
            ("reason = 'spring'", last.size),
            (f"position = {last.size - 2}", last.size - 2),
        ):
            await _execute(database, f"UPDATE incarnations SET {change} WHERE reason <> 'first'")
            report = await verified(database, objects, sealed_log.witnessed)
            assert [(one.kind, one.position) for one in report.defects] == [("incarnation_changed", position)]
        await _execute(database, "UPDATE incarnations SET id = gen_random_uuid() WHERE reason <> 'first'")
        report = await verified(database, objects, sealed_log.witnessed)
        assert [(one.kind, one.position) for one in report.defects] == [("tail_cut", last.size - 1)]

    async with postgres_server.new_database(sealed_log.database.name) as database:
        await _execute(database, "UPDATE events SET metadata = '{}' WHERE position = 30")
        await _execute(database, DIGESTED, 30)
        await begin_incarnation(database.owner_url, "so that nobody sees it")
        await _sealed_anew(database, objects)
        report = await verified(database, objects, [])
    assert [defect.kind for defect in report.defects] == ["history_rewritten"]


async def _sealed_anew(database: Database, objects: Path) -> None:
    """Seals a log that whoever led it has left."""
    for table in ("leaderships", "workers"):
        await _execute(database, f"DELETE FROM {table}")
    async with world_on(database.app_url, objects) as world:
        records, signer = AuditRecords(world.database), KeySigner([KEY])
        sealer = Sealer(world.journal, records, world.store, signer, Witnesses([]))
        await sealer.seal(await sealer.open(world.leadership), world.leadership)


class Stopped(Exception):
    """The process ended after a page, and this is what it had kept."""

    kept = b""

    async def show(self, progress: Progress) -> None:
        self.kept = msgspec.json.encode(progress)
        raise self


async def _execute(database: Database, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(database.owner_url)
    try:
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def _fetch(database: Database, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database.owner_url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()
