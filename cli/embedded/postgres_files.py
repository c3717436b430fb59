"""The files of an embedded database: made whole or not at all, and only used by the major that made them."""

import asyncio
import os
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cli.embedded.postgres_programs import (
    EmbeddedPostgresError,
    command,
    environment,
    files_owner,
    postgres_major,
    programs_folder,
)

_INITDB_SECONDS = 120.0
_UNFINISHED = "data.new-"
_TAIL_CHARACTERS = 2_000


def refuse_another_major(data: Path) -> None:
    """Raise EmbeddedPostgresError, with the way out, for files of another major version of Postgres."""
    try:
        found = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return
    if found == str(postgres_major()):
        return
    note = _note(data)
    last = f", last used by {note.read_text().strip()}" if note.exists() else ""
    raise EmbeddedPostgresError(
        f"the database files in {data} are of PostgreSQL {found}{last}; this program brings PostgreSQL "
        f"{postgres_major()}, which cannot read them. Start `batchmill serve` of that version on this data "
        f"folder, dump its database with `pg_dump --format custom` (in {programs_folder()}, at the URL that "
        f"the folder's file database-url names), stop it, move {data} away, start this version once, and "
        "load the dump into its database with `pg_restore --clean --if-exists`"
    )


def note_program(data: Path) -> None:
    """Write beside the files which program uses them: whoever cannot read them later names it."""
    try:
        program = f"batchmill {version('batchmill')}"
    except PackageNotFoundError:
        program = "batchmill from a source tree"
    _note(data).write_text(f"{program} with PostgreSQL {postgres_major()}\n")


async def make_files(data: Path, superuser: str) -> None:
    """Make new database files at `data`: under another name first, so that a crash leaves nothing half made.

    Raises EmbeddedPostgresError with what initdb said when it fails or takes too long.
    """
    for unfinished in data.parent.glob(f"{_UNFINISHED}*"):
        await asyncio.to_thread(shutil.rmtree, unfinished, ignore_errors=True)
    account = files_owner(data)
    fresh = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=data.parent))
    if account is not None:
        try:
            os.chown(fresh, account.uid, account.gid)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"Postgres does not run as root, and {fresh} cannot be given to user {account.uid}: "
                f"{error.strerror}; run as an ordinary user, or set BATCHMILL_DATABASE_URL"
            ) from error
    arguments = ["-D", str(fresh), "-U", superuser, "--auth=trust", "-E", "UTF8", "--locale=C"]
    process = await asyncio.create_subprocess_exec(
        *command("initdb", [*arguments, "--no-instructions"], account),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        cwd="/",
        env=environment(),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_INITDB_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        raise EmbeddedPostgresError(
            f"making the database files {data} took more than {_INITDB_SECONDS:.0f} s: is its disk well?"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise EmbeddedPostgresError(
            f"the database files {data} cannot be made (initdb ended with status {process.returncode}): "
            f"{output.decode(errors='replace')[-_TAIL_CHARACTERS:].strip()}"
        )
    _move(fresh, data)


def _note(data: Path) -> Path:
    return data.parent / "program"


def _move(fresh: Path, data: Path) -> None:
    """Give whole files their name, for good: all that the database promises from now on hangs on it."""
    fresh.rename(data)
    folder = os.open(data.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
