"""Bundles of real batches check, with both programs, and say what their files hold."""

import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest

from engine.audit.sealer import Sealed, Sealer
from engine.audit.signer import KeySigner
from engine.audit.witnesses import Witnesses
from engine.eraser import Eraser
from engine.finalizer import Finalizer
from events.audit.bundle.check import check_bundle
from events.audit.bundle.contents import Kind
from events.audit.bundle.export import BundleExport, LogChanged, NotSealedYet, StillRuns
from events.audit.records import AuditRecords
from events.batch import BatchStarted, FailBatch
from events.catalog import new_event
from events.errors import NotFound
from events.inputs.validator import LineError
from events.log import Board
from tests.engine.audit.mill import KEY, NEXT_KEY
from tests.engine.recorded import PROJECT, RecordedBatch, World, request_line, world_on
from tests.events.audit.bundle.bundles import by_single_file, by_us, files_by_single_file, files_by_us
from tests.postgres import Database


class Yard(msgspec.Struct):
    """A world whose log is sealed by hand."""

    world: World
    sealer: Sealer
    sealed: Sealed
    finalizer: Finalizer
    records: AuditRecords

    @property
    def export(self) -> BundleExport:
        return BundleExport(self.world.database, self.world.store)

    async def seal(self) -> None:
        await self.sealer.seal(self.sealed, self.world.leadership)

    async def bundle(self, batch: str, kind: Kind) -> bytes:
        pieces = self.export.pieces(await self.export.sealed(batch), kind)
        return b"".join([piece async for piece in pieces])

    async def batch(self, lines: int = 8) -> RecordedBatch:
        return await self.world.batch([request_line(n) for n in range(lines)])

    async def noise(self, events: int) -> None:
        """Events of others, so that the bundle's lie apart."""
        await self.world.log.append(
            [new_event(f"batch_{n}", "another", BatchStarted(n, "m")) for n in range(events)]
        )

    async def checked(self, batch: str, files: Sequence[bytes]) -> tuple[str, int, int, int, int]:
        """What both programs prove of both kinds of bundle: status, lines, erasures."""
        output, errors = files
        proven = []
        for kind in ("digests", "bodies"):
            bundle = await self.bundle(batch, kind)
            ours, single = files_by_us(bundle, output, errors), files_by_single_file(bundle, output, errors)
            assert (ours.batch_id, ours.project_id, single.batch) == (batch, PROJECT, batch)
            proven += [
                (one.status, one.completed, one.failed, one.unrun, one.erased) for one in (ours, single)
            ]
        assert proven[0] == proven[1]
        assert proven[2] == proven[3]
        assert proven[0][:4] == proven[2][:4]
        return proven[0]

    async def files_of(self, batch: RecordedBatch) -> tuple[bytes, bytes]:
        state = await batch.state()
        return await self.world.content(state.output_file_id), await self.world.content(state.error_file_id)


@asynccontextmanager
async def yard_on(database: Database, folder: Path) -> AsyncIterator[Yard]:
    async with world_on(database.app_url, folder) as world:
        records = AuditRecords(world.database)
        sealer = Sealer(world.journal, records, world.store, KeySigner([KEY, NEXT_KEY]), Witnesses([]))
        sealed = await sealer.open(world.leadership)
        yield Yard(
            world, sealer, sealed, Finalizer(world.journal, world.store, world.options, records), records
        )


@pytest.fixture
async def yard(database: Database, tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard_on(database, tmp_path / "objects") as yard:
        yield yard


async def test_a_batch_that_completed_with_failed_lines(yard: Yard) -> None:
    await yard.noise(5)
    batch = await yard.batch()
    await batch.record_lines([6, 1])
    await yard.noise(300)
    await batch.record_lines([0, 3], status=400)
    await batch.record_lines([2, 4, 5, 7], size=3000)
    await yard.finalizer.finalize(batch.id)
    await yard.noise(9)
    await yard.seal()
    before = await yard.bundle(batch.id, "bodies")
    assert await yard.checked(batch.id, await yard.files_of(batch)) == ("completed", 6, 2, 0, 0)
    await yard.noise(40)
    await yard.seal()
    assert await yard.bundle(batch.id, "bodies") == before, "made later, it is the same"
    for key in (KEY, NEXT_KEY):
        assert (by_us(before, key), by_single_file(before, key)) == (None, None)


async def test_a_batch_that_was_cancelled(yard: Yard) -> None:
    batch = await yard.batch()
    await batch.record_lines([1, 4])
    await batch.record_lines([5], status=500)
    await batch.cancel()
    await yard.finalizer.finalize(batch.id)
    await yard.seal()
    files = await yard.files_of(batch)
    assert await yard.checked(batch.id, files) == ("cancelled", 2, 1, 5, 0)
    renamed = files[1].replace(b"batch_cancelled", b"batch_expiredxx", 1)
    with pytest.raises(
        Exception, match="line 1 of the errors file, line 0 of the batch from 0, does not say"
    ):
        await yard.checked(batch.id, (files[0], renamed))


async def test_a_batch_that_expired_without_any_outcome(yard: Yard) -> None:
    batch = await yard.batch()
    await batch.expire()
    await yard.finalizer.finalize(batch.id)
    await yard.seal()
    assert await yard.checked(batch.id, await yard.files_of(batch)) == ("expired", 0, 0, 8, 0)


async def test_batches_that_ended_before_they_began(yard: Yard) -> None:
    cancelled = await yard.world.created([request_line(0)])
    await cancelled.cancel_while_validating()
    failed = await yard.world.created([b"no request"])
    error = LineError("invalid_json_line", "no JSON", None, 1)
    await failed.command(FailBatch((error,)), Board(failed.id, PROJECT, None, revoke=True))
    await yard.seal()
    assert await yard.checked(cancelled.id, (b"", b"")) == ("cancelled", 0, 0, 0, 0)
    assert await yard.checked(failed.id, (b"", b"")) == ("failed", 0, 0, 0, 0)


async def test_a_batch_whose_results_are_erased(yard: Yard) -> None:
    batch = await yard.batch()
    await batch.record_lines(range(8))
    await yard.finalizer.finalize(batch.id)
    await yard.seal()
    files = await yard.files_of(batch)
    before = await yard.bundle(batch.id, "digests")
    world = yard.world
    await world.delete_file((await batch.state()).output_file_id or "")
    eraser = Eraser(world.log, world.models, world.board, world.store)
    await eraser.handle(await world.log.read(after=0, limit=1000))
    await yard.seal()
    assert await yard.checked(batch.id, files) == ("completed", 8, 0, 0, 1)
    with pytest.raises(Exception, match="SHA-256"):
        await yard.checked(batch.id, (files[0].replace(b"200", b"201", 1), b""))
    assert files_by_us(before, *files).erased == 0, "who has the older bundle has more"


async def test_a_bundle_is_made_of_what_has_ended_and_is_sealed(yard: Yard) -> None:
    with pytest.raises(NotFound, match="there is no batch batch_none"):
        await yard.export.sealed("batch_none")
    with pytest.raises(NotFound, match="there is no batch file-"):
        await yard.export.sealed(await yard.world.file(b"x"))
    batch = await yard.batch()
    with pytest.raises(StillRuns, match="has not ended"):
        await yard.export.sealed(batch.id)
    await batch.record_lines(range(8))
    await yard.finalizer.finalize(batch.id)
    with pytest.raises(NotSealedYet, match="no checkpoint covers the end"):
        await yard.export.sealed(batch.id)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "UPDATE events SET metadata = '{\"actor\":\"nobody\"}' WHERE type = 'LinesCompleted'",
            "the event at position",
        ),
        (
            "UPDATE attachments SET salt = '\\x00'::bytea || substr(salt, 2)",
            "attachment 0 of the event at position",
        ),
    ],
)
async def test_no_bundle_is_made_of_a_log_that_was_changed(
    yard: Yard, database: Database, change: str, told: str
) -> None:
    batch = await yard.batch()
    await batch.record_lines(range(8))
    await yard.finalizer.finalize(batch.id)
    await yard.seal()
    superuser = await asyncpg.connect(
        database.superuser_url, server_settings={"session_replication_role": "replica"}
    )
    try:
        await superuser.execute(change)
    finally:
        await superuser.close()
    with pytest.raises(LogChanged, match=told):
        await yard.bundle(batch.id, "digests")


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_memory_does_not_grow_with_the_lines(yard: Yard, tmp_path: Path) -> None:
    """Of the export, and of the check without result files: it holds a byte for each line."""
    peaks = []
    for lines in (1_000, 50_000):
        batch = await yard.batch(lines)
        for first in range(0, lines, 250):
            await batch.record_lines(range(first, first + 250), size=300)
        await yard.finalizer.finalize(batch.id)
        await yard.seal()
        tracemalloc.start()
        with (tmp_path / "evidence").open("wb") as target:
            async for piece in yard.export.pieces(await yard.export.sealed(batch.id), "bodies"):
                target.write(piece)
        with (tmp_path / "evidence").open("rb") as source:
            assert check_bundle(source, [KEY.public]).completed == lines
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        size = (tmp_path / "evidence").stat().st_size
        print(f"{lines:,} lines: {size:,} bytes, at most {peaks[-1]:,} bytes of memory")
    assert peaks[1] < peaks[0] + (4 << 20)
