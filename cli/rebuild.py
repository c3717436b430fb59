"""`batchmill rebuild`: what can be dropped, made again from the log."""

import asyncio
import os
from typing import TYPE_CHECKING

import msgspec

from cli.parameters import Config, Json
from cli.settings_sources import load

if TYPE_CHECKING:
    from events.rebuild import Rebuilt


def rebuild(*, config: Config = None, json: Json = False) -> None:
    """Fold the read models again from the log, and put every open batch back on
    the work board.

    Safe beside a running server: it pauses for as long as this takes and goes
    on. What the log holds is never changed. The database is the one that the
    settings name, or the embedded one, running or not.

    $ batchmill rebuild
    $ BATCHMILL_DATABASE_URL=postgresql://batchmill@db/batchmill batchmill rebuild --json
    """
    rebuilt = asyncio.run(_rebuilt(config))
    if json:
        print(msgspec.json.encode(rebuilt).decode())
        return
    print(
        f"Folded {rebuilt.events:,} events into {rebuilt.batches:,} batches ({rebuilt.open_batches:,} open), "
        f"{rebuilt.files:,} files, {rebuilt.uploads:,} uploads, {rebuilt.keys:,} keys and "
        f"{rebuilt.webhook_endpoints:,} webhook endpoints."
    )
    if rebuilt.parked:
        print(f"{rebuilt.parked:,} streams have an event that only a newer batchmill knows: upgrade.")
    if rebuilt.unknown:
        print(f"{rebuilt.unknown:,} streams belong to objects that only a newer batchmill knows: upgrade.")


async def _rebuilt(config: Config) -> "Rebuilt":
    from cli.database import bring_up_to_date, open_database
    from events.rebuild import rebuild as apply

    settings = load(environ=os.environ, config=config).settings
    async with open_database(settings) as logins:
        await bring_up_to_date(logins)
        return await apply(logins.application)
