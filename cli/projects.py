"""`batchmill projects`: what an operator does to all that a project has. These commands open the database;
they need no server."""

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final, TypeVar
from uuid import uuid4

import msgspec
from cyclopts import App, Parameter

from cli.exit_codes import ExitCode
from cli.parameters import Config, Json
from cli.settings_sources import load
from events.catalog import State
from events.errors import NotFound, Refused, UnknownEvent
from events.origin import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from events.journal import Decision, Journal
    from events.read_models import Seen
    from events.work import WorkBoard

PAGE: Final = 100
S = TypeVar("S", bound=State)

app = App(
    name="projects",
    help="""Act on all that a project has.

    $ batchmill projects erase research
    """,
    help_format="plaintext",
)


class Erased(msgspec.Struct, frozen=True):
    """What `projects erase` did: how many files it deleted and uploads it cancelled, which batches are still
    on their way to their end, what it left because only a newer program can read it, and whether it destroyed
    the data key that the project had."""

    files: int
    uploads: int
    open_batches: list[str]
    unread: list[str]
    data_key_destroyed: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing of the project is left to be erased."""
        return not self.open_batches and not self.unread


@app.command
def erase(
    project: Annotated[str, Parameter(help="The project, as `batchmill keys list` shows it.")],
    /,
    *,
    config: Config = None,
    json: Json = False,
) -> int:
    """Delete all files and results of a project, and cancel what it has under way.

    Contents go from storage and from the log within seconds, while a server
    runs; what is left of them are digests, by which the log still proves what
    happened. Batches under way end first, and their results come after that:
    then run this again. Once nothing is left, the project's data key is
    destroyed, if it has one. Revoke the project's keys before, so that nothing
    new comes. Exit code 1 where something is left.

    $ batchmill keys revoke key_0123456789abcdef01234567
    $ batchmill projects erase research
    """
    erased = asyncio.run(_erased(project, config))
    if json:
        print(msgspec.json.encode(erased).decode())
    else:
        print(f"Deleted {erased.files:,} files and cancelled {erased.uploads:,} uploads of {project}.")
        if erased.data_key_destroyed:
            print(
                "Destroyed its data key: only an older copy of the database and the wrapping key of then, "
                "together, can read what that had encrypted."
            )
        if erased.open_batches:
            print(f"Still ending: {', '.join(erased.open_batches)}. Run this again when they have.")
        if erased.unread:
            print(f"Only a newer batchmill can delete: {', '.join(erased.unread)}.")
    return ExitCode.OK if erased.complete else ExitCode.FAILED


async def _erased(project: str, config: Config) -> Erased:
    from cli.database import open_records
    from cli.encryption_parts import data_keys_of
    from events.work import WorkBoard

    settings = load(environ=os.environ, config=config).settings
    async with open_records(settings) as (database, journal):
        erased = await erase_project(journal, WorkBoard(database), project, settings.cancel_grace)
        if not erased.complete:
            return erased
        destroyed = await data_keys_of(settings, database).destroy(project)
        return msgspec.structs.replace(erased, data_key_destroyed=destroyed)


async def erase_project(journal: "Journal", board: "WorkBoard", project: str, grace: float) -> Erased:
    """Cancels the open batches and uploads of a project, and deletes its files. `grace` is how long the lines
    in flight of a batch have to end, in seconds. Raises as `Journal.carry_out`."""
    from api.batches.batches import cancellation as of_batch
    from api.files.files import deletion
    from api.uploads.uploads import cancellation as of_upload
    from events.batch import Batch
    from events.file import File
    from events.upload import Upload

    for batch in await board.open_batches_of(project):
        with suppress(NotFound, Refused, UnknownEvent):
            await journal.carry_out(
                Batch, batch.batch_id, lambda seen: of_batch(seen, (uuid4(), uuid4()), OPERATOR, grace)
            )
    uploads, unread = await _each(journal, Upload, project, lambda seen: of_upload(seen, uuid4(), OPERATOR))
    files, others = await _each(journal, File, project, lambda seen: deletion(seen, uuid4(), OPERATOR))
    left = [batch.batch_id for batch in await board.open_batches_of(project)]
    return Erased(files, uploads, left, unread + others)


async def _each(
    journal: "Journal", kind: type[S], project: str, decide: "Callable[[Seen[S]], Decision]"
) -> tuple[int, list[str]]:
    """Decides on each object of a kind that a project has: on how many, and what this program cannot read."""
    decided = 0
    unread: list[str] = []
    after: str | None = None
    while (page := await journal.models.page(kind, project, after=after, limit=PAGE)).last_id is not None:
        unread += page.unread
        for seen in page.objects:
            try:
                await journal.carry_out(kind, seen.id, decide)
            except UnknownEvent:
                unread.append(seen.id)
            except (NotFound, Refused):  # somebody was faster
                continue
            else:
                decided += 1
        after = page.last_id
    return decided, unread
