"""A log with a bit of everything, sealed again and again, and what an auditor brings to verify it."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import msgspec

from engine.audit.checkpoints import Trust
from engine.audit.progress import Progress, Report
from engine.audit.sealer import Sealer
from engine.audit.signer import KeySigner
from engine.audit.verifier import PAGE, Verifier
from engine.audit.witnesses import Witnesses
from engine.eraser import Eraser
from engine.finalizer import Finalizer
from events.audit.evidence import Evidence
from events.audit.note import PrivateKey
from events.audit.records import AuditRecords, Signed
from events.catalog import kind_of, new_event
from events.database import Database as OpenDatabase
from events.incarnation import current_incarnation
from events.key import KeyCreated
from events.log import Row
from events.postgres_log import PostgresLog
from events.read_models import model_write
from storage.local_folder import LocalFolder
from tests.engine.audit.mill import KEY
from tests.engine.recorded import PROJECT, World, request_line, shuffled, world_on
from tests.postgres import Database


class SealedLog(msgspec.Struct):
    """Where it is, and what a witness was told of it."""

    database: Database
    folder: Path
    witnessed: Sequence[Signed]


async def make_sealed_log(
    database: Database, folder: Path, *, batches: int = 5, lines: int = 40, seed: int = 1
) -> SealedLog:
    """Batches completed, cancelled, expired, half run, not run; files deleted, results erased, uploads, a
    key."""
    dice = Random(seed)
    async with world_on(database.app_url, folder) as world:
        records = AuditRecords(world.database)
        sealer = Sealer(world.journal, records, world.store, KeySigner([KEY]), Witnesses([]))
        sealed = await sealer.open(world.leadership)
        finalizer = Finalizer(world.journal, world.store, world.options, records)
        eraser = Eraser(world.log, world.models, world.board, world.store)
        for number in range(batches):
            ending = ("done", "cancelled", "expired", "erased", "running", "done")[number % 6]
            batch = await world.batch([request_line(n) for n in range(lines)])
            flushes = shuffled(lines, seed=dice.randrange(1 << 30), most=3)
            for flush in flushes if ending in ("done", "erased") else flushes[: len(flushes) // 2]:
                await batch.record_lines(flush, dice.choice((200, 200, 200, 400)), size=dice.randrange(200))
                if dice.random() < 0.1:
                    await sealer.seal(sealed, world.leadership)
            if ending == "running":
                continue
            await (
                batch.cancel()
                if ending == "cancelled"
                else batch.expire()
                if ending == "expired"
                else _none()
            )
            await finalizer.finalize(batch.id)
            if ending == "erased":
                state = await batch.state()
                await world.delete_file(state.output_file_id or "")
        unrun = await world.batch([request_line(0)])
        await unrun.expire()
        await finalizer.finalize(unrun.id)
        await world.delete_file((await unrun.state()).error_file_id or "")
        await world.upload(b"first part", b"second part")
        gone = await world.file(b"a file that is deleted\n")
        await world.file(b"a file that stays\n")
        await world.delete_file(gone)
        await _key(world)
        await eraser.handle(await world.log.read(after=0, limit=10_000))
        await _project(world, dice)
        await sealer.seal(sealed, world.leadership)
        witnessed = []
        at = 0
        while (signed := await records.covering(sealed.incarnation, at + 1)) is not None:
            witnessed.append(signed)
            at = signed.checkpoint.size
    return SealedLog(database, folder, witnessed)


@asynccontextmanager
async def auditor(
    database: Database,
    folder: Path,
    witnessed: Sequence[Signed],
    *,
    key: PrivateKey = KEY,
    page: int = PAGE,
) -> AsyncIterator[Verifier]:
    """Whoever verifies, with the public key and what a witness has kept."""
    opened = await OpenDatabase.open(database.app_url, connections=4)
    store = LocalFolder(folder)
    try:
        trust = Trust([key.public], [("the witness", signed) for signed in witnessed])
        incarnation = await current_incarnation(opened)
        log = PostgresLog(opened, store)
        yield Verifier(Evidence(opened, store), log, store, incarnation, trust, page)
    finally:
        await store.close()
        await opened.close()


async def verified(database: Database, folder: Path, witnessed: Sequence[Signed]) -> Report:
    """What a verification of everything finds."""
    async with auditor(database, folder, witnessed) as verifier:
        return await verifier.run(await verifier.begin(), shown_to_nobody)


async def shown_to_nobody(progress: Progress) -> None:
    """No progress bar."""


def copy_objects(folder: Path, to: Path) -> Path:
    """A storage of its own with the same objects."""
    shutil.copytree(folder, to)
    return to


async def _none() -> None:
    """The batch goes its way."""


async def _key(world: World) -> None:
    created = KeyCreated("ab" * 32, "…abcd")
    await world.log.append(
        [new_event("key_1", PROJECT, created)], rows=[Row("key", "key_1", PROJECT, label="ab" * 32)]
    )


async def _project(world: World, dice: Random) -> None:
    """Moves most rows forward, as the projector does that has not seen the last events yet."""
    streams = {event.stream_id for event in await world.log.read(after=0, limit=10_000)}
    for stream in sorted(streams):
        kind = kind_of(stream)
        assert kind is not None
        seen = await world.models.find(kind, stream)
        if seen is not None and dice.random() < 0.8:
            await world.models.advance([model_write(seen)])
