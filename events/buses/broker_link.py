"""One connection to the broker, opened again whenever it is lost.

    apart ──connected──▶ open ──closed by either side, or given up──▶ apart

Whatever goes wrong with a connection, the remedy is the same: a new one. So the client library's plain
connection is used, and not the one that restores itself: restoring by hand what a channel once was has a
history of consumers lost in silence, while here every user of a link begins anew on each connection.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError
from pamqp.common import FieldTable
from yarl import URL

from events.errors import BusUnavailable

_logger = structlog.get_logger()
RETRY: Final = (0.3, 1.0)
"""Seconds between two tries to connect, drawn at random, so that many processes do not come at once."""
CLOSING: Final = 1.0
"""Seconds that a goodbye may take; a broker that is away does not answer it."""
HEARTBEAT: Final = 10
"""Seconds; a URL may say otherwise (`?heartbeat=60`)."""
PROPERTIES: FieldTable = {"product": "batchmill"}
"""What a broker's operator sees of a connection beside its name."""


@asynccontextmanager
async def broker_calls(seconds: float, what: str) -> AsyncIterator[None]:
    """For calls to the broker. Whatever they fail with, and no answer within `seconds`, is `BusUnavailable`.

    A channel that dies cancels whoever waits on it: that, too, is a failure of the broker, unless this task
    was cancelled itself.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BusUnavailable(f"{what}: the channel was closed") from cancelled
    except TimeoutError as late:
        raise BusUnavailable(f"{what}: no answer within {seconds:g} s") from late
    except (AMQPError, OSError, RuntimeError) as error:
        raise BusUnavailable(f"{what}: {type(error).__name__} {error}".rstrip()) from error


class Link:
    """`run` it as a task; its users ask for the connection of the moment."""

    def __init__(self, url: str, name: str, patience: float) -> None:
        address = URL(url)
        if "heartbeat" not in address.query:
            address = address.update_query(heartbeat=HEARTBEAT)
        self._url = address
        self._name = name
        self._patience = patience
        self._connection: AbstractConnection | None = None
        self._opened = asyncio.Event()
        self._lost = asyncio.Event()
        self._told: str | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as anybody knows."""
        return self._connection is not None

    async def connection(self) -> AbstractConnection:
        """The connection, as soon as there is one."""
        while self._connection is None:
            await self._opened.wait()
        return self._connection

    def connection_now(self) -> AbstractConnection:
        """The connection. Raises `BusUnavailable` at once where there is none."""
        if self._connection is None:
            raise BusUnavailable(f"no connection to the broker at {self._address}: tried again all the time")
        return self._connection

    def give_up(self, connection: AbstractConnection, reason: str) -> None:
        """Has a connection that does not answer replaced, unless it has been already."""
        if self._connection is connection:
            _logger.warning("connection given up", broker=self._address, link=self._name, reason=reason)
            self._lost.set()

    async def run(self) -> None:
        """Keeps the connection up until cancelled."""
        while True:
            try:
                connection = await self._connect()
            except BusUnavailable as error:
                self._tell(str(error))
                await asyncio.sleep(random.uniform(*RETRY))
                continue
            try:
                await self._lost.wait()
            finally:
                self._connection = None
                self._opened.clear()
                await leave(connection)
            self._tell("the connection was lost")

    async def _connect(self) -> AbstractConnection:
        self._lost.clear()
        async with broker_calls(self._patience, f"cannot connect to the broker at {self._address}"):
            connection = await aio_pika.connect(
                self._url, client_properties={"connection_name": self._name, **PROPERTIES}
            )
        connection.close_callbacks.add(lambda *_: self._lost.set())
        self._connection = connection
        self._opened.set()
        self._told = None
        _logger.info("connected", broker=self._address, link=self._name)
        return connection

    def _tell(self, reason: str) -> None:
        """Once for all tries that fail for one reason."""
        if reason != self._told:
            self._told = reason
            _logger.warning("no connection to the broker", link=self._name, reason=reason)

    @property
    def _address(self) -> str:
        """Where the broker is, without the login."""
        return f"{self._url.scheme}://{self._url.host}:{self._url.port}{self._url.path}"


async def leave(what: AbstractConnection | AbstractChannel) -> None:
    """Closes a connection or channel, answered or not."""
    try:
        async with broker_calls(CLOSING, "not closed in order"):
            await what.close()
    except BusUnavailable as error:
        _logger.debug("left without a goodbye", reason=str(error))
