"""`batchmill log`: what an operator does to the log as a whole."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from cli.exit_codes import ExitCode
from cli.log_events import events
from cli.parameters import Config, Json
from cli.settings_sources import load
from cli.settings_values import show_size
from cli.tables import print_table
from events.errors import BatchmillError, DatabaseUnavailable, SettingsError
from storage.store import StorageError, StorageFull, StorageUnavailable

if TYPE_CHECKING:
    from engine.lost_contents import Lost, LostContents
    from events.log import Incarnation

app = App(
    name="log",
    help="""Say what has become of the log.

    $ batchmill log events --follow
    $ batchmill log files --make-again
    $ batchmill log fork --reason "restored from the dump of Tuesday"
    """,
    help_format="plaintext",
)
app.command(events)


class LostFile(msgspec.Struct, frozen=True):
    """Contents that storage lacks, as `log files --json` shows them: `lost`, and for which `reason` they were
    not made again, or `made_again`."""

    id: str
    kind: Literal["file", "result", "part"]
    project: str
    size: int
    batch: str | None
    storage_key: str
    state: Literal["lost", "made_again"]
    reason: str | None = None


@app.command
def fork(
    *,
    reason: Annotated[str, Parameter(help="Why: it is kept with the log.")],
    config: Config = None,
    json: Json = False,
) -> None:
    """Begin a new incarnation of the log, after a restore that lost events.

    What was published or signed of the lost events stays known under the old
    incarnation, and cannot be taken for events of this one. Sealing goes on with
    a tree of its own. Safe beside running servers; nothing is changed or deleted.

    $ batchmill log fork --reason "restored from the dump of Tuesday"
    """
    if not reason.strip():
        raise SettingsError("--reason is empty: say why, for whoever looks at the log later")
    begun = asyncio.run(_begin(reason, config))
    if json:
        print(msgspec.json.encode({"incarnation": begun.id, "position": begun.position}).decode())
    else:
        print(f"Incarnation {begun.id} has begun after position {begun.position:,}.")


@app.command
def files(
    *,
    make_again: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Make result files again where the log can."),
    ] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """List the files that the log names and storage lacks, as after a restore.

    Looks whether each is there and as long as it should be; its bytes are what
    `batchmill audit verify` looks at. Result files can be made again while their
    result lines live in the log; inputs and parts of uploads cannot. Safe beside
    running servers. Exit code 1 where something stays lost.

    $ batchmill log files
    $ batchmill log files --make-again
    """
    found = asyncio.run(_files(config, make_again))
    lost = [file for file in found if file.state == "lost"]
    if json:
        print(msgspec.json.encode(found).decode())
    elif not found:
        print("Every file that the log names is in storage.")
    else:
        print_table(("id", "what", "project", "batch", "size", "state"), [_row(file) for file in found])
        if lost and not make_again and any(file.kind == "result" for file in lost):
            print("Results can be made again: batchmill log files --make-again", file=sys.stderr)
    return ExitCode.FAILED if lost else ExitCode.OK


def _row(file: LostFile) -> tuple[str, ...]:
    state = file.reason or file.state.replace("_", " ")
    return file.id, file.kind, file.project, file.batch or "", show_size(file.size), state


async def _files(config: Config, make_again: bool) -> list[LostFile]:
    from cli.database import open_records
    from cli.encryption_parts import open_contents
    from cli.storage import open_storage
    from engine.lost_contents import LostContents
    from events.work import WorkBoard

    settings = load(environ=os.environ, config=config).settings
    async with open_storage(settings) as store, open_records(settings, store) as (database, journal):
        stored, _ = await open_contents(settings, database, store)
        contents = LostContents(journal.log, journal.models, WorkBoard(database), stored)
        return [await _looked_at(contents, lost, make_again) async for lost in contents.find()]


async def _looked_at(contents: "LostContents", lost: "Lost", make_again: bool) -> LostFile:
    shown = LostFile(
        lost.id, lost.kind, lost.project_id, lost.size, lost.batch_id, lost.storage_key, state="lost"
    )
    if not make_again:
        return shown
    try:
        await contents.make_again(lost)
    except (DatabaseUnavailable, StorageUnavailable, StorageFull):
        raise
    except (BatchmillError, StorageError) as error:
        return msgspec.structs.replace(shown, reason=str(error))
    return msgspec.structs.replace(shown, state="made_again")


async def _begin(reason: str, config: Config) -> "Incarnation":
    from cli.database import bring_up_to_date, open_database
    from events.incarnation import begin_incarnation

    async with open_database(load(environ=os.environ, config=config).settings) as logins:
        await bring_up_to_date(logins)
        return await begin_incarnation(logins.owner, reason)
