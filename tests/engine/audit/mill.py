"""A log, and whoever seals it: into a real folder, from a real database."""

import time
from pathlib import Path
from typing import Any, Final

import asyncpg

from engine.audit.sealer import Sealed, Sealer
from engine.audit.signer import KeySigner
from engine.audit.witnesses import Witnesses
from events.audit.leaf import entry
from events.audit.note import PrivateKey
from events.audit.records import AuditRecords, Signed
from events.audit.tile_store import TileStore
from events.batch import BatchStarted
from events.buses.local_bus import LocalBus
from events.catalog import new_event
from events.incarnation import begin_incarnation
from events.journal import Journal
from events.log import Incarnation, Leadership
from storage.local_folder import LocalFolder
from tests.events.stage import PROJECT, Stage
from tests.postgres import Database

KEY: Final = PrivateKey("mill", bytes(range(32)))
NEXT_KEY: Final = PrivateKey("mill", bytes(range(1, 33)))


class Mill:
    """A log, and whoever seals it."""

    def __init__(self, stage: Stage, database: Database, folder: Path, leader: Leadership) -> None:
        self.stage = stage
        self.records = AuditRecords(stage.database)
        self.folder = folder
        self.store = LocalFolder(folder)
        self.leader = leader
        self._database = database

    def sealer(self, *keys: PrivateKey, store: Any = None, clock: Any = time.monotonic) -> Sealer:
        journal = Journal(self.stage.log, self.stage.models, LocalBus())
        signer = KeySigner(keys or [KEY])
        return Sealer(journal, self.records, store or self.store, signer, Witnesses([]), clock=clock)

    async def append(self, events: int) -> None:
        await self.stage.log.append(
            [new_event(f"batch_{n}", PROJECT, BatchStarted(n, "m")) for n in range(events)]
        )

    async def seal(self, *keys: PrivateKey, store: Any = None) -> Sealed:
        """What a leader does that begins anew."""
        sealer = self.sealer(*keys, store=store)
        sealed = await sealer.open(self.leader)
        await sealer.seal(sealed, self.leader)
        return sealed

    async def fork(self, reason: str) -> Incarnation:
        return await begin_incarnation(self._database.owner_url, reason)

    async def entries(self) -> list[bytes]:
        rows = await self.as_superuser("SELECT * FROM events ORDER BY position")
        return [entry(row["digest"], row["stream_id"], row["version"]) for row in rows]

    async def as_superuser(self, statement: str) -> list[asyncpg.Record]:
        """As somebody who takes the triggers out of the way as well."""
        connection = await asyncpg.connect(
            self._database.superuser_url, server_settings={"session_replication_role": "replica"}
        )
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    async def signed(self) -> list[Signed]:
        """Every checkpoint that is kept, the smallest first."""
        rows = await self.as_superuser("SELECT incarnation, size FROM signed_checkpoints ORDER BY size")
        found = [await self.records.covering(row["incarnation"], row["size"]) for row in rows]
        return [signed for signed in found if signed is not None]

    async def tile_folder(self) -> Path:
        return self.folder / "audit" / str(await self.records.incarnation()) / "tile"

    async def tiles(self) -> TileStore:
        return TileStore(self.store, await self.records.incarnation())
