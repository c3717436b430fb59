"""Connections to Postgres: pools with a bound on every wait, and database errors as ours."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from events.errors import BatchmillError, DatabaseUnavailable, EventMismatch, LeadershipLost, LogBusy

if TYPE_CHECKING:
    Connection = PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:  # asyncpg's classes take type arguments in its stubs only
    Connection = PoolConnectionProxy
    Pool = asyncpg.Pool
CONNECT_SECONDS: Final = 10.0
STATEMENTS: Final = 100
"""More than this program has."""
REST_SECONDS: Final = 0.5
"""Seconds in which the server gives up a call that was left; a connection that takes longer is cut."""
CROWDED_SECONDS: Final = 0.1
"""Seconds between two tries to have one more connection of a server that has as many as it may."""
LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    # What asyncpg makes of a call between the server's last word on a connection and its end.
    asyncpg.InternalClientError,
    OSError,
)
"""What says that this connection, or the whole server, is of no use for the moment."""


class Database:
    """Two pools to one database: reads never wait behind appends.

    Every statement has a time-out on the client's side too, so that a network that swallows packets ends
    in an error. A server that turned read-only expires the pool (asyncpg would keep such connections).
    """

    def __init__(self, reads: Pool, writes: Pool, place: str, patience: float) -> None:
        self._reads = reads
        self._writes = writes
        self._place = place
        self._patience = patience

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        connections: int = 8,
        patience: float = 5.0,
        statement_timeout: float = 30.0,
        statement_cache: int | None = None,
    ) -> "Database":
        """Connects; at most `connections` in all. `patience`: seconds that a call waits for a connection
        or for the log before it gives up. `statement_cache`: prepared statements that each connection keeps;
        None: `STATEMENTS`, or none where sessions are shared. Raises `DatabaseUnavailable`."""
        writing = max(1, connections // 2)
        place = place_of(url)
        if statement_cache is None:
            statement_cache = STATEMENTS if await _has_sessions(url) else 0

        async def pool(size: int, *, writes: bool) -> Pool:
            return await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=size,
                command_timeout=statement_timeout,
                timeout=CONNECT_SECONDS,
                statement_cache_size=statement_cache,
                init=_learn_arrays if writes else None,
                reset=_keep,
            )

        reads: Pool | None = None
        try:
            reads = await pool(max(1, connections - writing), writes=False)
            return cls(reads, await pool(writing, writes=True), place, patience)
        except (*LOST, asyncpg.PostgresError) as error:
            if reads is not None:
                reads.terminate()
            raise _cannot_connect(place, error) from error

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection to read with, for as long as the block runs."""
        async with self._lend(self._reads) as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A connection to write with, for as long as the block runs."""
        async with self._lend(self._writes) as connection:
            yield connection

    @asynccontextmanager
    async def _lend(self, pool: Pool) -> AsyncIterator[Connection]:
        # Neither asyncpg's own time-out here nor a shield around the release, which has one already: each is
        # a task of its own, and a call would wait several times for its turn in a busy loop.
        try:
            async with asyncio.timeout(self._patience):
                connection = await _acquired(pool)
        except TimeoutError as error:
            raise LogBusy(
                f"no database connection was free for {self._patience:g} s: the database is overloaded"
            ) from error
        except (*LOST, asyncpg.PostgresError) as error:
            raise _cannot_connect(self._place, error) from error
        with errors_as_ours():
            try:
                yield connection
            except TimeoutError:
                raise
            except LOST:
                await pool.expire_connections()
                raise
            finally:
                # What has happened within stands, a cancellation above all: the connection is cut by now.
                with suppress(TimeoutError, *LOST):
                    await pool.release(connection, timeout=REST_SECONDS)

    async def close(self) -> None:
        """Closes both pools; what is still running after `patience` is cut."""
        await asyncio.gather(self._close(self._reads), self._close(self._writes))

    async def _close(self, pool: Pool) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await pool.close()
        except TimeoutError:
            pool.terminate()


async def _acquired(pool: Pool) -> Connection:
    """A connection of the pool. Where the server takes no more of them, one of those there are comes free."""
    while True:
        try:
            return await pool.acquire()
        except asyncpg.TooManyConnectionsError:
            await asyncio.sleep(CROWDED_SECONDS)


async def single_connection(
    url: str, *, answers_within: float | None = None
) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection outside the pools, for what needs a long transaction or the owner's login; it keeps no
    prepared statements. `answers_within`: the most seconds that a statement may take. Raises
    `DatabaseUnavailable`."""
    try:
        return await asyncpg.connect(
            url, timeout=CONNECT_SECONDS, statement_cache_size=0, command_timeout=answers_within
        )
    except (*LOST, asyncpg.PostgresError) as error:
        raise _cannot_connect(place_of(url), error) from error


async def _has_sessions(url: str) -> bool:
    """Whether a connection is a session of the server's, not one of a bouncer's: that names no process of the
    server. Behind it, a client would find and run what another has prepared under the same name."""
    connection = await single_connection(url, answers_within=CONNECT_SECONDS)
    try:
        with errors_as_ours():
            return bool(await connection.fetchval("SELECT pg_backend_pid()") == connection.get_server_pid())
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


def place_of(url: str) -> str:
    """What messages call the database of a URL: its name and host, and nothing that could be of a secret."""
    parts = urlsplit(url)
    if url.count("@") != parts.netloc.count("@"):  # a password that was not quoted runs on behind the host
        return "the database"
    host = parts.netloc.rpartition("@")[2] or parse_qs(parts.query).get("host", ["this machine"])[0]
    return f"database '{unquote(parts.path.lstrip('/'))}' at {host}"


@contextmanager
def errors_as_ours() -> Iterator[None]:
    """Raises what the database may say in the course of things as one of ours; a defect (a wrong statement,
    a deadlock) stays what it is."""
    try:
        yield
    except TimeoutError as error:
        raise LogBusy("the database did not answer in time; the call is safe to repeat") from error
    except LOST as error:
        raise DatabaseUnavailable(f"the database cannot be used: {error}") from error
    except asyncpg.PostgresError as error:
        match error.sqlstate:
            case "BM002":
                raise LeadershipLost(str(error)) from error
            case "BM003":
                raise EventMismatch(str(error)) from error
            case "BM004" | "BM006":
                raise BatchmillError(str(error)) from error
            case "55P03" | "57014":
                raise LogBusy(
                    f"the database did not answer in time ({error}); the call is safe to repeat"
                ) from error
            case _:
                raise


async def _learn_arrays(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """On each connection asyncpg asks the server once about every type of array that it meets: 10 ms for
    which no append should wait."""
    await connection.fetchrow("SELECT $1::uuid[], $2::bytea[], $3::bigint[], $4::integer[]", [], [], [], [])


async def _keep(connection: object) -> None:
    """Nothing is ever SET on a connection, so a release resets nothing: twice the query rate."""


def _cannot_connect(place: str, error: Exception) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"cannot connect to {place}: {str(error) or type(error).__name__}; is it running, and its URL right?"
    )
