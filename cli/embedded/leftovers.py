"""A server that an earlier run left on the database files, and how it is ended.

Only the holder of the data folder's lock asks this, so whoever still serves these files is left over: from a
system that cannot tie a server to its parent's life, or one that is just ending because its parent died.
`postmaster.pid` names it, but a pid outlives its process and is used again, soon so in a container: a pid
counts only when it is a Postgres on these very files.
"""

import asyncio
import signal
from pathlib import Path

import psutil
import structlog

from cli.embedded.postgres_programs import EmbeddedPostgresError

_POLL_SECONDS = 0.02
_LADDER = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
"""The signals of a fast stop, an immediate one, and none at all; how long each may take."""

_log = structlog.get_logger()


async def end_left_postgres(data: Path) -> None:
    """Stop the server that still runs on the files `data`, and remove a `postmaster.pid` that names none.

    Raises EmbeddedPostgresError when it does not end, or may not be ended by this user.
    """
    left = _left_on(data)
    if left is None:
        # Postgres itself refuses to start when the pid in there lives on as another process of its user.
        (data / "postmaster.pid").unlink(missing_ok=True)
        return
    _log.warning("left_postgres_found", pid=left.pid, data=str(data))
    for step, seconds in _LADDER:
        if await _ended(left, step, seconds, data):
            return
    raise EmbeddedPostgresError(
        f"process {left.pid} is a Postgres on {data} that an earlier run left, and it does not end: "
        f"end it (`kill -9 {left.pid}`), then start again"
    )


async def _ended(process: psutil.Process, step: signal.Signals, seconds: float, data: Path) -> bool:
    try:
        process.send_signal(step)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied as error:
        raise EmbeddedPostgresError(
            f"process {process.pid} is a Postgres on {data} that another user runs: stop it, then start again"
        ) from error
    try:
        async with asyncio.timeout(seconds):
            while _alive(process):  # noqa: ASYNC110 - not our child: nothing tells when it ends
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        return False
    return True


def _left_on(data: Path) -> psutil.Process | None:
    try:
        pid = int((data / "postmaster.pid").read_text().partition("\n")[0])
        process = psutil.Process(pid)
        serves = _serves(process.cmdline(), data)
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    except psutil.AccessDenied:
        # A process that may not even be looked at belongs to another user, so it is none that we started.
        return None
    return process if serves and _alive(process) else None


def _alive(process: psutil.Process) -> bool:
    # A dead server stays a zombie where the first process of a container reaps nothing.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _serves(command: list[str], data: Path) -> bool:
    if not command or Path(command[0]).name != "postgres" or "-D" not in command[:-1]:
        return False
    named = Path(command[command.index("-D") + 1])
    return named == data or (named.exists() and named.samefile(data))
