"""`batchmill rebuild`: what can be dropped, made again from the log."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from cli.parameters import Config, Json
from cli.settings_sources import load

if TYPE_CHECKING:
    from events.rebuild import Rebuilt
    from events.rebuild_board import RebuiltBoard


def rebuild(
    *,
    work_board: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Make the work board again, too: it was lost."),
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make the read models again from the log, while everything goes on.

    A second copy of them is folded beside the live one and put in its place in
    one moment. Servers and workers go on, and clients see no change. Broken off
    anywhere, it has changed nothing: run it again. What the log holds is never
    changed. The database is the one that the settings name, or the embedded one,
    running or not.

    --work-board is for a work board that was lost: open batches stand on it, and
    who has which lines in hand. It is made again after that, within a pause of
    all work; lines that were in hand are run again.

    $ batchmill rebuild
    $ batchmill rebuild --work-board
    $ BATCHMILL_DATABASE_URL=postgresql://batchmill@db/batchmill batchmill rebuild --json
    """
    models, board = asyncio.run(_rebuilt(config, work_board=work_board))
    if json:
        made = msgspec.to_builtins(models) | ({"board": msgspec.to_builtins(board)} if board else {})
        print(msgspec.json.encode(made).decode())
        return
    print(
        f"Folded {models.events:,} events into {models.batches:,} batches, {models.files:,} files, "
        f"{models.uploads:,} uploads, {models.keys:,} keys and "
        f"{models.webhook_endpoints:,} webhook endpoints."
    )
    if board:
        print(f"Put {board.batches:,} open batches on the work board, with {board.chunks:,} chunks begun.")
    if models.parked:
        print(f"{models.parked:,} streams have an event that only a newer batchmill knows: upgrade.")
    if models.unknown:
        print(f"{models.unknown:,} streams belong to objects that only a newer batchmill knows: upgrade.")


async def _rebuilt(config: Config, *, work_board: bool) -> "tuple[Rebuilt, RebuiltBoard | None]":
    from cli.database import bring_up_to_date, open_database
    from cli.steps import steps
    from cli.storage import open_storage
    from events.rebuild import rebuild as apply
    from events.rebuild_board import rebuild_board

    settings = load(environ=os.environ, config=config).settings
    async with open_storage(settings) as store, open_database(settings) as logins:
        await bring_up_to_date(logins)
        with steps(sys.stderr) as tell:
            models = await apply(
                logins.application, lambda done: tell(done.doing, done.folded, done.events), store=store
            )
        return models, await rebuild_board(logins.application) if work_board else None
