"""A private Postgres at an address that stays, to be killed and started again on the same files.

The programs are those that come with ours; what it stands for is a database server of an operator's own.
"""

import asyncio
import shutil
import signal
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import asyncpg
import psutil

from cli.embedded.postgres import DATABASE, OWNER, SUPERUSER
from cli.embedded.postgres_files import make_files
from cli.embedded.postgres_programs import command, environment, files_owner
from tests.ports import free_ports
from tests.postgres import Database, PostgresServer

START: Final = 120.0
"""Seconds within which a server answers, also after a crash."""
MEMORY: Final = Path("/dev/shm")
ROOM: Final = 2 << 30
"""Bytes that memory must have free for a server's files to be kept there."""


class PostgresNode:
    """One server on one folder."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._output = folder / "output"
        [self._port] = free_ports(1)
        self._process: Process | None = None

    @property
    def database(self) -> Database:
        """The one database on it, which nothing was migrated in yet."""
        return self.server.database(DATABASE)

    @property
    def server(self) -> PostgresServer:
        """The server, as its superuser reaches it."""
        return PostgresServer(f"postgresql://{SUPERUSER}@127.0.0.1:{self._port}/postgres")

    async def start(self) -> None:
        """Runs it until it answers; harmless when it runs."""
        if not self._data.exists():
            await make_files(self._data, SUPERUSER)
        if self._process is None:
            with self._output.open("ab") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *command("postgres", self._arguments(), files_owner(self._data)),
                    stdin=DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd="/",
                    env=environment(),
                    start_new_session=True,
                )
        async with asyncio.timeout(START):
            while not await self._answers():
                if self._process.returncode is not None:
                    raise RuntimeError(f"the server ended: {self._output.read_text()[-2000:]}")
                await asyncio.sleep(0.02)

    async def make_database(self) -> None:
        """Makes what an operator makes: the roles of the program and its database."""
        await self.server.ensure_roles()
        connection = await asyncpg.connect(self.server.superuser_url)
        try:
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        finally:
            await connection.close()

    async def stop(self) -> None:
        """Ends it as an operator does who does not wait for its clients."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            await process.wait()

    async def kill(self) -> None:
        """Ends the server and all of its sessions as a power cut does, but for the disk's own cache."""
        process, self._process = self._process, None
        if process is None:
            return
        postmaster = psutil.Process(process.pid)
        for one in (postmaster, *postmaster.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        await process.wait()

    def _arguments(self) -> list[str | Path]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "max_connections": "200",
            "jit": "off",
            # What is killed here are processes: the machine and the disk's cache live on.
            "fsync": "off",
            "full_page_writes": "off",
        }
        return ["-D", self._data, *(p for n, v in settings.items() for p in ("-c", f"{n}={v}"))]

    async def _answers(self) -> bool:
        try:
            await (await asyncpg.connect(self.server.superuser_url)).close()
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
            return False
        return True


@asynccontextmanager
async def running_postgres() -> AsyncIterator[PostgresNode]:
    """A server and its database, for as long as the block runs."""
    with tempfile.TemporaryDirectory(
        prefix="batchmill-postgres-", dir=_roomy_memory(), ignore_cleanup_errors=True
    ) as folder:
        node = PostgresNode(Path(folder))
        try:
            await node.start()
            await node.make_database()
            yield node
        finally:
            await node.kill()


def _roomy_memory() -> Path | None:
    """A folder that is kept in memory, where there is one with room."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM else None
