"""A private PgBouncer in transaction mode: own folder, own port. One of the system is never touched.

Each transaction may get another session of the server, so whatever is kept in a session is lost or, worse,
found by another client. There are fewer sessions than clients, so that this really happens.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

from cli.embedded.postgres import LOGIN, OWNER
from cli.embedded.postgres_programs import NOBODY, Account, command, environment
from tests.ports import free_ports
from tests.postgres import ROLE_PASSWORD, Database, PostgresServer

START: Final = 60.0
SESSIONS: Final = 4
"""Sessions of the server for each login and database."""
_CONFIGURATION: Final = """\
[databases]
* = host={host} port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 500
"""


class Bouncer:
    """A way into every database of a server, for the owner's and the application's login."""

    def __init__(self, port: int) -> None:
        self._port = port

    def before(self, database: Database) -> Database:
        """The same database, reached through the bouncer; the superuser goes straight on."""
        return replace(
            database,
            owner_url=self._through(database.owner_url),
            app_url=self._through(database.app_url),
        )

    def _through(self, url: str) -> str:
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self._port}", query=""))


def installed_pgbouncer() -> str:
    """The program. Fails with what to install where there is none."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        raise RuntimeError("no PgBouncer for the tests: install one (Debian: apt-get install pgbouncer)")
    return found


@contextmanager
def running_bouncer(server: PostgresServer) -> Iterator[Bouncer]:
    """A bouncer in front of a server for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="batchmill-bouncer-") as name:
        folder, (port,) = Path(name), free_ports(1)
        users = folder / "users"
        users.write_text("".join(f'"{role}" "{ROLE_PASSWORD}"\n' for role in (OWNER, LOGIN)))
        host, server_port = _address(server.superuser_url)
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            _CONFIGURATION.format(
                host=host, server_port=server_port, port=port, users=users, sessions=SESSIONS
            )
        )
        # Like Postgres it refuses to run as root, and the way to Postgres leads through a private folder.
        account = Account(NOBODY, NOBODY) if os.geteuid() == 0 else None
        said = folder / "said"
        with said.open("wb") as output:
            process = subprocess.Popen(
                command(installed_pgbouncer(), [configuration], account),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
                cwd="/",
            )
        try:
            _await_listening(port, process, said)
            yield Bouncer(port)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(START)


def _address(url: str) -> tuple[str, int]:
    """Host, or folder of the socket, and port of a server."""
    parts = urlsplit(url)
    host = parts.hostname or parse_qs(parts.query)["host"][0]
    return host, parts.port or 5432


def _await_listening(port: int, process: "subprocess.Popen[bytes]", said: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=START).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"PgBouncer does not listen: {said.read_text()}")
