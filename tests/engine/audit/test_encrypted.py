"""A history whose bodies are encrypted proves what one in plain does, and is erased by its data key."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from engine.audit.checkpoints import Trust
from engine.audit.progress import Report
from engine.audit.sealer import Sealer
from engine.audit.signer import KeySigner
from engine.audit.verifier import Verifier
from engine.audit.witnesses import Witnesses
from engine.eraser import Eraser
from engine.finalizer import Finalizer
from engine.lost_contents import LostContents
from events.audit.bundle.export import BundleExport
from events.audit.evidence import Evidence
from events.audit.records import AuditRecords
from events.buses.local_bus import LocalBus
from events.errors import DatabaseUnavailable
from events.incarnation import current_incarnation
from events.inputs.input_lines import InputLines
from events.journal import Journal
from events.outcomes.recorded_results import recorded_results
from events.postgres_log import PostgresLog
from storage.data_key import DataKeys, NoDataKeys
from storage.encrypted_store import EncryptedStore
from storage.frames import FRAME_BYTES
from storage.local_folder import LocalFolder
from tests.engine.audit.mill import KEY
from tests.engine.audit.sealed_log import shown_to_nobody
from tests.engine.recorded import PROJECT, RecordedBatch, World, request_line, result_line, world_on
from tests.postgres import Database
from tests.storage.data_keys import HeldDataKeys

LINES = 6
RECORDED = range(4)
PADDING = FRAME_BYTES // 3
"""Lines that lie in more than one frame, and frames that hold more than one."""


@pytest.fixture
def keys() -> HeldDataKeys:
    return HeldDataKeys()


@pytest.fixture
async def world(database: Database, tmp_path: Path, keys: HeldDataKeys) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as plain:
        store = EncryptedStore(plain.store, keys)
        log = PostgresLog(plain.database, store, keys)
        journal = Journal(log, plain.models, LocalBus())
        yield replace(plain, store=store, log=log, journal=journal)


async def lived(world: World) -> RecordedBatch:
    """A batch of which some lines have an outcome, and the others were never run."""
    batch = await world.batch([request_line(n, PADDING) for n in range(LINES)])
    await batch.record_lines(RECORDED, size=100)
    await batch.cancel()
    assert await Finalizer(world.journal, world.store, world.options).finalize(batch.id)
    sealer = Sealer(world.journal, AuditRecords(world.database), world.store, KeySigner([KEY]), Witnesses([]))
    await sealer.seal(await sealer.open(world.leadership), world.leadership)
    return batch


async def verified(world: World, keys: DataKeys) -> Report:
    store = EncryptedStore(LocalFolder(world.options.spill_folder), keys)
    log = PostgresLog(world.database, store, keys)
    incarnation = await current_incarnation(world.database)
    verifier = Verifier(
        Evidence(world.database, store, keys), log, store, incarnation, Trust([KEY.public], [])
    )
    try:
        return await verifier.run(await verifier.begin(), shown_to_nobody)
    finally:
        await store.close()


async def hand(database: Database, statement: str) -> None:
    connection = await asyncpg.connect(database.superuser_url)
    try:
        await connection.execute(f"SET session_replication_role = replica; {statement}")
    finally:
        await connection.close()


async def test_nobody_but_the_disk_notices(world: World, keys: HeldDataKeys) -> None:
    batch = await lived(world)
    state = await batch.state()
    expected = b"".join(result_line(batch.id, line, size=100) for line in RECORDED)
    assert await world.content(state.output_file_id) == expected
    pieces = [p async for p in recorded_results(world.log, batch.id, skip=1, take=2)]
    assert b"".join(pieces) == b"".join(result_line(batch.id, line, size=100) for line in (1, 2))
    inputs = InputLines(world.log, world.store, batch.id, state.created)
    assert [found.raw async for found in inputs.lines((5, 0, 3))] == [
        request_line(n, PADDING) for n in (5, 0, 3)
    ]

    report = await verified(world, keys)
    assert (report.defects, report.erased) == ([], 0)
    assert min(report.attachments, report.files, report.results) > 0


async def test_a_lost_result_is_made_again_under_its_key(world: World, keys: HeldDataKeys) -> None:
    batch = await lived(world)
    file_id = (await batch.state()).output_file_id
    assert file_id is not None
    before = await world.content(file_id)
    await world.store.delete(await world.object_of(file_id))
    contents = LostContents(world.log, world.models, world.board, world.store)
    [lost] = [lost async for lost in contents.find()]
    await contents.make_again(lost)
    assert await world.content(file_id) == before
    assert (await verified(world, keys)).clean


async def test_what_was_tampered_with_is_named(world: World, keys: HeldDataKeys, database: Database) -> None:
    batch = await lived(world)
    input_key = await world.object_of(batch.input_file_id)
    path = world.options.spill_folder / input_key
    body = bytearray(path.read_bytes())
    body[FRAME_BYTES] ^= 1
    path.write_bytes(body)
    await hand(
        database,
        "UPDATE attachments a SET body = set_byte(body, 40, get_byte(body, 40) # 1) FROM events e "
        "WHERE e.event_id = a.event_id AND e.type = 'LinesCompleted'",
    )
    report = await verified(world, keys)
    assert {defect.kind for defect in report.defects} == {"file_changed", "attachment_changed"}


async def test_once_the_data_key_is_destroyed_bodies_are_erased_and_the_proof_is_whole(
    world: World, keys: HeldDataKeys
) -> None:
    batch = await lived(world)
    state = await batch.state()
    for file_id in (batch.input_file_id, state.output_file_id, state.error_file_id):
        assert file_id is not None
        await world.delete_file(file_id)
    keys.destroy(PROJECT)  # before anything of it has gone from the disk
    report = await verified(world, keys)
    assert report.defects == []
    assert report.erased > 0

    eraser = Eraser(world.log, world.models, world.board, world.store)
    await eraser.handle(await world.log.read(after=0))
    left = await verified(world, keys)
    assert (left.defects, left.erased) == ([], report.erased)


async def test_a_bundle_is_in_plain_and_says_what_is_erased(world: World, keys: HeldDataKeys) -> None:
    batch = await lived(world)
    exporting = BundleExport(world.database, world.store, keys)
    sealed = await exporting.sealed(batch.id)
    whole = b"".join([piece async for piece in exporting.pieces(sealed, "bodies")])
    keys.destroy(PROJECT)
    erased = b"".join([piece async for piece in exporting.pieces(sealed, "bodies")])
    assert len(erased) < len(whole)


async def test_without_the_key_a_body_is_not_read_as_another(world: World) -> None:
    batch = await lived(world)
    [(version, _, _)] = await world.log.facts(batch.id)
    with pytest.raises(DatabaseUnavailable, match="data key"):
        await PostgresLog(world.database, world.store, NoDataKeys()).flushed(batch.id, version)
