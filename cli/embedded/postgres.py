"""A Postgres of our own: made, started, watched and stopped inside a data folder.

    <data folder>/postgres/          0700
        data/                        the database files; as root they belong to `nobody`
        log, log.1                   what the server said, bounded
        program                      which program used the files last

    made ──start──> starting ──ready──> running ──stop──> stopped
                       └──────────────────┴──ended by itself──> PostgresDied from `watch`

It listens on a Unix socket alone, in a folder only this user may enter: that is the access control. Three
roles: `postgres` (the superuser, for the supervisor), `batchmill_owner` (owns the database `batchmill` and
makes roles: what migrations run as) and `batchmill_login` (may log in, and whatever migrations grant it: what
the application runs as).
"""

import asyncio
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import asyncpg
import structlog

from cli.embedded.data_folder import SOCKET_NAME, DataFolder, socket_folder_of
from cli.embedded.leftovers import end_left_postgres
from cli.embedded.postgres_files import make_files, note_program, refuse_another_major
from cli.embedded.postgres_programs import EmbeddedPostgresError, command, environment, files_owner

DATABASE = "batchmill"
SUPERUSER = "postgres"
OWNER = "batchmill_owner"
LOGIN = "batchmill_login"

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    # Small: the operating system keeps the files in memory too, and what a session has touched of these
    # counts as its own to whoever looks from outside.
    "shared_buffers": "8MB",
    "wal_buffers": "2MB",
    "bgwriter_lru_maxpages": "0",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "10min",
    "wal_compression": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "jit": "off",
    # Parallel queries want more of /dev/shm than a container has, and no query here is that large.
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Statements and rows carry what belongs to users: they stay out of the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}

_START_SECONDS = 120.0
"""Recovery after a crash reads at most `max_wal_size` of log: seconds on a disk, a minute on a bad one."""
_SETUP_SECONDS = 30.0
_POLL_SECONDS = 0.02
_STOP_LADDER = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
"""The signals of a fast stop, an immediate one, and none at all; how long each may take."""
_BLOCK_IN_USE = "pre-existing shared memory block"
"""What a server says when sessions of one that was killed have not noticed its death yet."""
_BLOCK_SECONDS = 0.25
_LOG_CHECK_SECONDS = 30.0
_LOG_BYTES = 4 << 20
_TAIL_BYTES = 2_000
_SOCKET_PATH_BYTES = 103
"""The longest path of a Unix socket on macOS (Linux has 107)."""

_log = structlog.get_logger()


class PostgresDied(EmbeddedPostgresError):
    """The embedded database ended though nobody stopped it."""


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The ways into a running embedded database, by role, as asyncpg takes them."""

    superuser: str
    owner: str
    login: str


class EmbeddedPostgres:
    """The embedded database of a data folder: a context manager, or `start` and `stop`.

    Start it on the thread that lives as long as the program, normally the main one: the kernel stops the
    server when the thread that started it is gone.
    """

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._data = folder.postgres / "data"
        self._log_file = folder.postgres / "log"
        self._said_before = 0
        self._process: Process | None = None
        self._sockets: Path | None = None

    async def start(self) -> DatabaseUrls:
        """Make the database files where there are none, start the server, and return the ways into it.

        A server that an earlier run left on the same files is ended first. Raises EmbeddedPostgresError,
        with the end of the server's own log, when it does not start.
        """
        refuse_another_major(self._data)
        if not self._data.exists():
            await make_files(self._data, SUPERUSER)
        await end_left_postgres(self._data)
        self._remove_left_socket_folder()
        try:
            sockets = self._sockets = _new_socket_folder()
            await self._run_until_ready(sockets)
            await _ensure_roles_and_database(sockets)
        except BaseException:
            await self.stop()
            raise
        note_program(self._data)
        urls = DatabaseUrls(
            superuser=_url(sockets, SUPERUSER, DATABASE),
            owner=_url(sockets, OWNER, DATABASE),
            login=_url(sockets, LOGIN, DATABASE),
        )
        self._folder.publish_database_url(urls.owner)
        return urls

    async def watch(self) -> None:
        """Return once the server is stopped with `stop`; raise PostgresDied when it ends otherwise.

        Keeps the log within its bound meanwhile. To be run as a task whose owner notices its end.
        """
        process = self._process
        while process is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOG_CHECK_SECONDS):
                    status = await process.wait()
                if self._process is not process:
                    return
                raise PostgresDied(f"the embedded database ended (status {status}). {self._said()}")
            _bound(self._log_file)

    async def stop(self) -> None:
        """Stop the server: fast, or at once where that takes too long. Does nothing when none runs."""
        process, self._process = self._process, None
        if process is not None:
            await _end(process)
        sockets, self._sockets = self._sockets, None
        if sockets is not None:
            self._folder.withdraw_database_url()
            _remove_socket_folder(sockets)

    async def __aenter__(self) -> DatabaseUrls:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _run_until_ready(self, sockets: Path) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_SECONDS
        while True:
            process = self._process = await self._run(sockets)
            try:
                async with asyncio.timeout_at(deadline):
                    if await _answers(process, sockets):
                        return
            except TimeoutError:
                raise EmbeddedPostgresError(
                    f"the embedded database was not ready after {_START_SECONDS:.0f} s. {self._said()}"
                ) from None
            if _BLOCK_IN_USE not in self._said() or loop.time() > deadline:
                raise EmbeddedPostgresError(
                    f"the embedded database did not start (status {process.returncode}). {self._said()}"
                )
            await asyncio.sleep(_BLOCK_SECONDS)

    async def _run(self, sockets: Path) -> Process:
        _bound(self._log_file)
        settings = _SETTINGS | {"unix_socket_directories": str(sockets)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log_file.open("ab") as log:
            self._said_before = log.tell()
            # A session of its own: Ctrl-C on a terminal is for us, who still need the database to drain.
            return await asyncio.create_subprocess_exec(
                *command("postgres", ["-D", self._data, *options], files_owner(self._data)),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                start_new_session=True,
            )

    def _said(self) -> str:
        """The end of what the server wrote to its log since it was started."""
        with self._log_file.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            said_before = self._said_before if self._said_before <= size else 0
            log.seek(max(said_before, size - _TAIL_BYTES))
            tail = log.read().decode(errors="replace").strip()
        return f"The end of {self._log_file}:\n{tail}" if tail else f"{self._log_file} says nothing"

    def _remove_left_socket_folder(self) -> None:
        left = self._folder.published_database_url()
        if left is not None:
            self._folder.withdraw_database_url()
            _remove_socket_folder(socket_folder_of(left))


def _url(sockets: Path, role: str, database: str) -> str:
    return f"postgresql://{role}@/{database}?host={quote(str(sockets))}"


async def _answers(process: Process, sockets: Path) -> bool:
    """Wait until the server lets us in; False when it ended instead."""
    while process.returncode is None:
        with suppress(OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
            connection = await asyncpg.connect(_url(sockets, SUPERUSER, "postgres"))
            await connection.close()
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


async def _end(process: Process) -> None:
    for step, seconds in _STOP_LADDER:
        with suppress(ProcessLookupError):
            process.send_signal(step)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await process.wait()
            return
        _log.warning("postgres_stop_slow", pid=process.pid, signal=step.name, seconds=seconds)


async def _ensure_roles_and_database(sockets: Path) -> None:
    """Make what is missing: an earlier start may have been killed between any two of these."""
    async with asyncio.timeout(_SETUP_SECONDS):
        connection = await asyncpg.connect(_url(sockets, SUPERUSER, "postgres"))
        try:
            roles = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
            if OWNER not in roles:
                await connection.execute(f"CREATE ROLE {OWNER} LOGIN CREATEROLE")
            if LOGIN not in roles:
                # By the owner, who may then grant to it and set what belongs to it.
                await connection.execute(f"SET ROLE {OWNER}; CREATE ROLE {LOGIN} LOGIN; RESET ROLE")
            known = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE)
            if known is None:
                await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        finally:
            await connection.close()


def _new_socket_folder() -> Path:
    """A new private folder whose path is short enough for a socket in it.

    The temporary folder comes first, since it outlives a login: `$XDG_RUNTIME_DIR` is removed with its user's
    last session, under a server that runs on. What cleans temporary folders spares sockets in use.
    """
    for parent in (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR"), "/tmp"):
        if parent and len(os.fsencode(f"{parent}/batchmill-12345678/{SOCKET_NAME}")) <= _SOCKET_PATH_BYTES:
            with suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="batchmill-", dir=parent))
    raise EmbeddedPostgresError(
        f"there is no folder for the database's socket: make {tempfile.gettempdir()} writable, or set TMPDIR "
        "to a folder with a short path"
    )


def _remove_socket_folder(folder: Path) -> None:
    """Remove a socket folder that this module made; whatever else is in there keeps it."""
    with suppress(OSError):
        for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _bound(log: Path) -> None:
    """Put the log's content aside, over what was put aside before, when it has grown too long."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_BYTES:
            # Copied and emptied, since the server keeps it open; it appends, so it goes on from the start.
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)
