"""`batchmill prune`: what the log has of batches long gone, moved to storage."""

import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter

from cli.parameters import Config, Json, duration
from cli.settings_sources import load
from cli.settings_values import show_duration

if TYPE_CHECKING:
    from engine.audit.pruner import Pruned

MONTH: Final = 30 * 24 * 3600.0


def prune(
    *,
    older_than: Annotated[
        float,
        Parameter(
            converter=duration,
            help="Only of batches that ended so long ago, such as 90d or 12h.",
            show_default=show_duration,
        ),
    ] = MONTH,
    dry_run: Annotated[
        bool, Parameter(negative="", show_default=False, help="Only say how much would be moved.")
    ] = False,
    key: Annotated[
        list[str] | None, Parameter(help="A public key, or a file of such; else those of the settings.")
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Move what the log has of the lines of old batches to storage.

    Of batches that have ended and whose result files were deleted or have
    expired: nobody can read their results any more, and what is left of each
    line is its place, status, tokens and times. That goes into segments, files in
    storage that verification, replay, rebuild and histories still read; so keep
    the storage as well as the database. Only what a signed checkpoint covers is
    moved, and each segment is read back before anything is deleted.

    Servers and workers go on. Broken off anywhere, run it again. It needs the
    owner's login of the database.

    $ batchmill prune --dry-run
    $ batchmill prune --older-than 90d
    """
    pruned = asyncio.run(_pruned(older_than, key or [], config, dry=dry_run))
    if json:
        print(msgspec.json.encode(pruned).decode())
        return
    if pruned.events:
        segments = "1 segment" if pruned.segments == 1 else f"{pruned.segments:,} segments"
        does = "Would move" if dry_run else "Moved"
        print(
            f"{does} {pruned.events:,} events of {pruned.bytes_:,} bytes to storage, as {segments} of "
            f"{pruned.stored:,} bytes."
        )
    else:
        print("Nothing to move.")
    if pruned.kept:
        print(f"{pruned.kept:,} as old stay: their batches ended later, or their results were not deleted.")


async def _pruned(older_than: float, keys: Sequence[str], config: Config, *, dry: bool) -> "Pruned":
    from cli.audit.keys import trusted_keys
    from cli.database import bring_up_to_date, open_database
    from cli.steps import steps
    from cli.storage import open_storage
    from engine.audit.pruner import prune as move
    from events.database import Database

    settings = load(environ=os.environ, config=config).settings
    trusted = trusted_keys(keys, config)
    async with open_storage(settings) as store, open_database(settings) as logins:
        await bring_up_to_date(logins)
        database = await Database.open(logins.owner, patience=settings.append_timeout)
        try:
            with steps(sys.stderr) as tell:
                return await move(
                    database,
                    store,
                    trusted,
                    timedelta(seconds=older_than),
                    dry=dry,
                    tell=lambda done: tell("pruning", done.upto, done.end),
                )
        finally:
            await database.close()
