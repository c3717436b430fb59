"""Dumps restored beside storage that went on: in the middle of a batch, and on both sides of a prune."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from engine.audit.sealer import Sealer, SealRefused
from engine.audit.signer import KeySigner
from engine.audit.witnesses import Witnesses
from engine.finalizer import Finalizer
from events.audit.records import AuditRecords
from events.incarnation import begin_incarnation
from tests.backup import dump, restore
from tests.engine.audit.mill import KEY
from tests.engine.audit.pruned_log import everything, project_all, prune, replayed
from tests.engine.audit.sealed_log import copy_objects, make_sealed_log, verified
from tests.engine.recorded import WORKER, RecordedBatch, World, request_line, world_on
from tests.postgres import Database, PostgresServer

LINES = 6


async def sealed(world: World) -> Sealer:
    """Seals all there is."""
    records = AuditRecords(world.database, world.store)
    sealer = Sealer(world.journal, records, world.store, KeySigner([KEY]), Witnesses([]))
    await sealer.seal(await sealer.open(world.leadership), world.leadership)
    return sealer


async def test_a_log_that_went_back_is_forked_and_its_batch_goes_on(
    database: Database, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder, dumped = tmp_path / "objects", tmp_path / "dump"
    async with world_on(database.app_url, folder) as world:
        batch = await world.batch([request_line(n) for n in range(LINES)])
        await batch.record_lines([0, 1])
        await sealed(world)
        await dump(database, dumped)
        await batch.record_lines([2, 3])  # which will be lost
        await sealed(world)
    copy = copy_objects(folder, tmp_path / "copy")

    async with AsyncExitStack() as closing:
        fresh = await closing.enter_async_context(postgres_server.new_database())
        await restore(dumped, fresh)
        restored = await closing.enter_async_context(world_on(fresh.app_url, copy))
        with pytest.raises(SealRefused, match="batchmill log fork"):
            await sealed(restored)
        begun = await begin_incarnation(fresh.owner_url, "restored")
        await sealed(restored)
        assert begun.position == await restored.log.head()
        batch = RecordedBatch(restored, batch.id, batch.input_file_id, LINES, batch.index)
        assert (await batch.state()).completed == 2
        [work] = await restored.board.free_claims(10)
        batch.claim = await restored.board.claim(work.claim_id, WORKER)
        assert await batch.record_lines([2, 3, 4, 5]) == "recorded"
        assert await Finalizer(restored.journal, restored.store, restored.options).finalize(batch.id)
        output = await restored.content((await batch.state()).output_file_id)
        assert [line.count(b"custom_id") for line in output.splitlines()] == [1] * LINES
        await sealed(restored)
        assert (await verified(fresh, copy, [])).clean


@pytest.mark.soak
@pytest.mark.parametrize("dumped", ["before", "after"])
async def test_dumps_of_before_and_after_a_prune_are_read_with_any_later_storage(
    database: Database, postgres_server: PostgresServer, tmp_path: Path, dumped: str
) -> None:
    folder, files = tmp_path / "objects", {"before": tmp_path / "before", "after": tmp_path / "after"}
    await make_sealed_log(database, folder, batches=4)
    await project_all(database, folder)
    await dump(database, files["before"])
    moved = (await prune(database, folder)).events
    await dump(database, files["after"])
    expected = await everything(database, folder)
    async with postgres_server.new_database() as fresh:
        await restore(files[dumped], fresh)
        assert await everything(fresh, folder) == expected
        await begin_incarnation(fresh.owner_url, "restored")
        async with world_on(fresh.app_url, folder) as restored:
            await sealed(restored)
        assert (await verified(fresh, folder, [])).clean
        assert await replayed(fresh, folder) == 0
        assert (await prune(fresh, folder)).events == (moved if dumped == "before" else 0)
        assert (await verified(fresh, folder, [])).clean
