"""A Postgres of our own: made, started, watched and stopped inside a data folder.

    <data folder>/postgres/          0700
        data/                        the database files; as root they belong to `nobody`
        data.new/                    an initdb under way: renamed when it is whole, else thrown away
        log, log.1                   what the server said, bounded
        program                      which program used these files last

It listens on a Unix socket alone, in a folder only this user may enter: that is the access control. The
folder lies in `$XDG_RUNTIME_DIR` or the temporary folder because a socket's path may not be longer than 107
bytes, and a data folder's may. Three roles: `postgres` (the superuser, for the supervisor only),
`batchmill_owner` (owns the database `batchmill` and makes roles: what migrations run as) and
`batchmill_login` (may log in and nothing else until migrations grant it more: what the application runs as).
"""

import asyncio
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import asyncpg
import structlog

from cli.data_folder import SOCKET_NAME, DataFolder, socket_folder_of
from cli.left_postgres import end_left_postgres
from cli.postgres_programs import EmbeddedPostgresError, command, environment, files_owner, postgres_major

DATABASE = "batchmill"
SUPERUSER = "postgres"
OWNER = "batchmill_owner"
LOGIN = "batchmill_login"

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    "shared_buffers": "64MB",
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
    "log_min_messages": "warning",
    # Statements and rows carry what belongs to users: they stay out of the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}

_INITDB_SECONDS = 120.0
_START_SECONDS = 120.0
"""Recovery after a crash reads at most `max_wal_size` of log: seconds on a disk, a minute on a bad one."""
_CONNECT_SECONDS = 10.0
_POLL_SECONDS = 0.02
_STOP_LADDER = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_WATCH_SECONDS = 30.0
_LOG_BYTES = 4 << 20
_TAIL_BYTES = 2_000
_SOCKET_PATH_BYTES = 107
"""The longest path of a Unix socket on Linux (sun_path is 108 with its NUL); macOS has 103."""

_log = structlog.get_logger()


class PostgresDied(EmbeddedPostgresError):
    """The embedded database ended though nobody stopped it."""


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """How to reach a running embedded database, as asyncpg takes it."""

    superuser: str
    owner: str
    login: str


class EmbeddedPostgres:
    """The embedded database of a data folder, as an asynchronous context manager or by `start` and `stop`.

    Start it on a thread that lives as long as it should: the kernel stops the server with that thread.
    """

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._data = folder.postgres / "data"
        self._log_file = folder.postgres / "log"
        self._process: Process | None = None
        self._sockets: Path | None = None

    async def start(self) -> DatabaseUrls:
        """Make the database files where there are none, start the server, and return how to reach it.

        A server that an earlier run left on the same files is ended first. Raises EmbeddedPostgresError with
        the end of the server's own log when it does not start.
        """
        self._refuse_another_major()
        if not self._data.exists():
            await self._initdb()
        await end_left_postgres(self._data)
        self._remove_old_socket_folder()
        try:
            sockets = self._sockets = _new_socket_folder()
            urls = _urls(sockets)
            await self._run(sockets)
            await self._wait_until_ready(sockets)
            await _ensure_roles_and_database(sockets)
        except BaseException:
            await self.stop()
            raise
        _note_program(self._folder.postgres / "program")
        self._folder.publish_database_url(urls.owner)
        return urls

    async def watch(self) -> None:
        """Return when the server was stopped with `stop`; raise PostgresDied when it ends otherwise.

        Keeps the log within its bound meanwhile: run it as a task whose owner notices its end.
        """
        process = self._process
        while process is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_SECONDS):
                    status = await process.wait()
                    if self._process is not process:
                        return
                    raise PostgresDied(f"the embedded database ended (status {status}). {self._said()}")
            _bound(self._log_file)

    async def stop(self) -> None:
        """Stop the server: fast, or at once where that takes too long. Does nothing when none runs."""
        process, self._process = self._process, None
        if process is not None:
            for step, seconds in _STOP_LADDER:
                with suppress(ProcessLookupError):
                    process.send_signal(step)
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await process.wait()
                        break
                _log.warning("postgres_stop_slow", pid=process.pid, signal=step.name, seconds=seconds)
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

    def _refuse_another_major(self) -> None:
        try:
            found = (self._data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return
        if found == str(postgres_major()):
            return
        note = self._folder.postgres / "program"
        last = f" ({note.read_text().strip()} used them last)" if note.exists() else ""
        raise EmbeddedPostgresError(
            f"the database files in {self._data} are of PostgreSQL {found}, this program brings PostgreSQL "
            f"{postgres_major()}{last}. Start them with the program that wrote them, `pg_dump` its database "
            f"{DATABASE!r}, move the folder {self._folder.postgres} away, and restore the dump into the one "
            "that this program makes"
        )

    async def _initdb(self) -> None:
        fresh = self._folder.postgres / "data.new"
        if fresh.exists():
            await asyncio.to_thread(shutil.rmtree, fresh)
        fresh.mkdir(mode=0o700)
        user = files_owner(self._data)
        if user is not None:
            os.chown(fresh, user, user)
        arguments = ["-D", str(fresh), "-U", SUPERUSER, "--auth=trust", "-E", "UTF8", "--locale=C"]
        process = await asyncio.create_subprocess_exec(
            *command("initdb", [*arguments, "--no-instructions"], user),
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
                f"initdb of {self._data} took more than {_INITDB_SECONDS:.0f} s: is its disk well?"
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise EmbeddedPostgresError(
                f"initdb of {self._data} failed (status {process.returncode}): "
                f"{output.decode(errors='replace')[-_TAIL_BYTES:].strip()}"
            )
        fresh.rename(self._data)

    async def _run(self, sockets: Path) -> None:
        _bound(self._log_file)
        settings = _SETTINGS | {"unix_socket_directories": str(sockets)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log_file.open("ab") as log:
            # A session of its own: Ctrl-C on a terminal is for us, who still need the database to drain.
            self._process = await asyncio.create_subprocess_exec(
                *command("postgres", ["-D", self._data, *options], files_owner(self._data)),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                start_new_session=True,
            )

    async def _wait_until_ready(self, sockets: Path) -> None:
        process = self._process
        assert process is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                while process.returncode is None:
                    with suppress(OSError, asyncpg.CannotConnectNowError):
                        connection = await asyncpg.connect(_url(sockets, SUPERUSER, "postgres"))
                        await connection.close()
                        return
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise EmbeddedPostgresError(
                f"the embedded database was not ready after {_START_SECONDS:.0f} s. {self._said()}"
            ) from None
        raise EmbeddedPostgresError(
            f"the embedded database did not start (status {process.returncode}). {self._said()}"
        )

    def _said(self) -> str:
        with suppress(FileNotFoundError):
            tail = self._log_file.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
            if tail:
                return f"The end of {self._log_file}:\n{tail}"
        return f"Its log {self._log_file} is empty"

    def _remove_old_socket_folder(self) -> None:
        left = self._folder.published_database_url()
        if left is not None:
            self._folder.withdraw_database_url()
            _remove_socket_folder(socket_folder_of(left))


def _url(sockets: Path, role: str, database: str) -> str:
    return f"postgresql://{role}@/{database}?host={quote(str(sockets), safe='/')}"


def _urls(sockets: Path) -> DatabaseUrls:
    return DatabaseUrls(
        superuser=_url(sockets, SUPERUSER, DATABASE),
        owner=_url(sockets, OWNER, DATABASE),
        login=_url(sockets, LOGIN, DATABASE),
    )


async def _ensure_roles_and_database(sockets: Path) -> None:
    """Make what is missing: an earlier start may have been killed between any two of these."""
    async with asyncio.timeout(_CONNECT_SECONDS):
        connection = await asyncpg.connect(_url(sockets, SUPERUSER, "postgres"))
        try:
            roles = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
            if OWNER not in roles:
                await connection.execute(f"CREATE ROLE {OWNER} LOGIN CREATEROLE")
            if LOGIN not in roles:
                # Made by the owner, who may then set and grant what belongs to it.
                await connection.execute(f"SET ROLE {OWNER}; CREATE ROLE {LOGIN} LOGIN; RESET ROLE")
            known = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE)
            if known is None:
                await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        finally:
            await connection.close()


def _new_socket_folder() -> Path:
    """A new private folder with a path short enough for a socket in it."""
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if parent and len(os.fsencode(f"{parent}/batchmill-12345678/{SOCKET_NAME}")) <= _SOCKET_PATH_BYTES:
            with suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="batchmill-", dir=parent))
    raise EmbeddedPostgresError("there is no folder to put a socket into: make the temporary folder writable")


def _remove_socket_folder(folder: Path) -> None:
    """Remove a socket folder that this module made; whatever else may be in there keeps it."""
    with suppress(OSError):
        for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _bound(log: Path) -> None:
    """Put the log's content aside, over what was put aside before, when it is too long."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_BYTES:
            # Copied and emptied, since the server keeps it open; it appends, so it goes on from the start.
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


def _note_program(note: Path) -> None:
    with suppress(PackageNotFoundError):
        note.write_text(f"batchmill {version('batchmill')} with PostgreSQL {postgres_major()}\n")
