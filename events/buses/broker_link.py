"""One connection to the broker, opened again whenever it is lost.

    apart ──connected──▶ open ──closed by either side, or given up──▶ apart

Whatever goes wrong with a connection, the remedy is the same: a new one. So the client library's plain
connection is used, and not the one that restores itself: restoring by hand what a channel once was has a
history of consumers lost in silence, while here every user of a link begins anew on each connection.
"""

import asyncio
import random
from typing import Final

import structlog
from yarl import URL

from events.buses.broker_connection import Connection
from events.errors import BusUnavailable

_logger = structlog.get_logger()
RETRY: Final = (0.3, 1.0)
"""Seconds between two tries to connect, drawn at random, so that many processes do not come at once."""
HEARTBEAT: Final = 10
"""Seconds; a URL may say otherwise (`?heartbeat=60`)."""


class Link:
    """`run` it as a task; its users ask for the connection of the moment."""

    def __init__(self, url: str, name: str, patience: float) -> None:
        address = URL(url)
        if "heartbeat" not in address.query:
            address = address.update_query(heartbeat=HEARTBEAT)
        self._url = address
        self._name = name
        self._patience = patience
        self._connection: Connection | None = None
        self._opened = asyncio.Event()
        self._lost = asyncio.Event()
        self._told: str | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as anybody knows."""
        return self._connection is not None

    async def connection(self) -> Connection:
        """The connection, as soon as there is one."""
        while self._connection is None:
            await self._opened.wait()
        return self._connection

    def connection_now(self) -> Connection:
        """The connection. Raises `BusUnavailable` at once where there is none."""
        if self._connection is None:
            raise BusUnavailable(f"no connection to the broker at {self._address}: tried again all the time")
        return self._connection

    async def connection_to_publish(self) -> Connection:
        """The connection. Raises `BusUnavailable` at once where there is none or its broker takes nothing."""
        connection = self.connection_now()
        if not await connection.takes_messages():
            raise BusUnavailable(
                f"the broker at {self._address} is short of memory or disk: it takes no messages"
            )
        return connection

    def give_up(self, connection: Connection, reason: str) -> None:
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
                await connection.leave()
            self._tell("the connection was lost")

    async def _connect(self) -> Connection:
        self._lost.clear()
        connection = Connection(self._url, self._name)
        await connection.open(self._patience, f"cannot connect to the broker at {self._address}")
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
        return str(self._url.with_user(None).with_query(None))
