"""`batchmill audit checkpoint`, `proof`, `consistency`: what is signed of the log, and proofs of its tree."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from cli.parameters import Config
from cli.settings_sources import load
from events.errors import NotFound, SettingsError

if TYPE_CHECKING:
    from events.audit.proofs import ConsistencyProof, Proofs
    from events.audit.records import AuditRecords

AT_ONCE = 500
"""Leaves of a batch read together."""


def checkpoint(*, config: Config = None) -> None:
    """Print the newest signed checkpoint of the log, for you to keep.

    $ batchmill audit checkpoint > kept-2026-11-26
    """

    async def newest() -> str:
        async with _proofs(config) as (_, proofs):
            return (await proofs.checkpoint()).note.encode()

    sys.stdout.write(asyncio.run(newest()))


def proof(
    *,
    position: Annotated[int | None, Parameter(help="Of the event at this position.")] = None,
    batch: Annotated[str | None, Parameter(help="Of every event of this batch.")] = None,
    config: Config = None,
) -> None:
    """Print proofs that events are under signed checkpoints, as JSON, one a line.

    $ batchmill audit proof --position 42
    $ batchmill audit proof --batch batch_0123456789abcdef > proofs.jsonl
    """
    if (position is None) == (batch is None):
        raise SettingsError("give --position or --batch")
    asyncio.run(_print_proofs(position, batch, config))


def consistency(
    *,
    since: Annotated[int, Parameter(name="--from", help="The size of the older checkpoint.")],
    to: Annotated[int | None, Parameter(help="That of the newer one; the newest, if not given.")] = None,
    config: Config = None,
) -> None:
    """Print the proof that one checkpoint extends another, as JSON.

    $ batchmill audit consistency --from 1200 --to 5000 > proof.json
    """

    async def proof() -> "ConsistencyProof":
        async with _proofs(config) as (_, proofs):
            return await proofs.consistency(since, to)

    print(msgspec.json.encode(asyncio.run(proof())).decode())


async def _print_proofs(position: int | None, batch: str | None, config: Path | None) -> None:
    async with _proofs(config) as (records, proofs):
        if position is not None:
            print(msgspec.json.encode(await proofs.inclusion(position)).decode())
            return
        assert batch is not None
        version = 0
        while leaves := await records.leaves_of(batch, after=version, limit=AT_ONCE):
            for leaf in leaves:
                print(msgspec.json.encode(await proofs.inclusion_of(leaf)).decode())
            version = leaves[-1].version
        if not version:
            raise NotFound(f"there is no batch {batch}")


@asynccontextmanager
async def _proofs(config: Path | None) -> "AsyncIterator[tuple[AuditRecords, Proofs]]":
    """What makes proofs of the log that the settings name."""
    from cli.database import open_records
    from cli.storage import open_storage
    from events.audit.proofs import Proofs
    from events.audit.records import AuditRecords

    settings = load(environ=os.environ, config=config).settings
    async with open_storage(settings) as store, open_records(settings) as (database, _):
        records = AuditRecords(database, store)
        yield records, Proofs(records, store)
