"""A connection to the broker, and calls on it: each ends in time, whatever the broker does."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, InvalidFrameError
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp.common import FieldTable
from yarl import URL

from events.errors import BusUnavailable

_logger = structlog.get_logger()
CLOSING: Final = 1.0
"""Seconds that a goodbye may take; a broker that is away does not answer it."""
PROPERTIES: FieldTable = {"product": "batchmill"}
"""What a broker's operator sees of a connection beside its name."""


class NoAnswer(BusUnavailable):
    """The broker did not answer in time."""


@asynccontextmanager
async def broker_calls(seconds: float, what: str) -> AsyncIterator[None]:
    """For calls to the broker. Whatever they fail with is `BusUnavailable`; no answer within `seconds` is
    `NoAnswer`.

    A channel that dies cancels whoever waits on it: that, too, is a failure of the broker, unless this task
    was cancelled itself. And of the latter the client library may make a failure, or nothing at all.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        async with asyncio.timeout(seconds):
            yield
    except asyncio.CancelledError as cancelled:
        if task is None or task.cancelling():
            raise
        raise BusUnavailable(f"{what}: the channel was closed") from cancelled
    except TimeoutError as late:
        raise NoAnswer(f"{what}: no answer within {seconds:g} s") from late
    except CONNECTION_EXCEPTIONS as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise BusUnavailable(f"{what}: {_reason(error)}") from error
    else:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


def _reason(error: Exception) -> str:
    if isinstance(error, InvalidFrameError) and "Connection.Close" in str(error):
        # What the client library says where its last question, for the virtual host, is answered by a no.
        return "its virtual host does not exist, is not for this login, or has as many connections as it may"
    return f"{type(error).__name__} {error}".rstrip()


class Connection(aio_pika.Connection):
    """The client library's plain connection, which can be broken off, too: to close it is to wait until all
    that was written has gone, and a broker that stands still takes nothing."""

    def __init__(self, url: URL, name: str) -> None:
        super().__init__(url, client_properties={"connection_name": name, **PROPERTIES})
        self._socket = _Socket()
        self.kwargs["transport_factory"] = self._socket

    async def open(self, seconds: float, what: str) -> None:
        """Connects. Raises as `broker_calls`."""
        with self._broken_off_after(seconds + CLOSING):
            async with broker_calls(seconds, what):
                try:
                    await self.connect()
                except Exception as error:  # where the other end talks nonsense, the library raises anything
                    raise BusUnavailable(f"{what}: {_reason(error)}") from error

    async def leave(self, channel: AbstractChannel | None = None) -> None:
        """Closes a channel of it, or all of it, answered or not."""
        try:
            with self._broken_off_after(2 * CLOSING):
                async with broker_calls(CLOSING, "not closed in order"):
                    await (self if channel is None else channel).close()
        except BusUnavailable as error:
            _logger.debug("left without a goodbye", reason=str(error))

    async def takes_messages(self) -> bool:
        """Whether the broker has not said that it lacks memory or disk space."""
        if self.transport is None:
            return True
        try:
            async with asyncio.timeout(0):
                await self.transport.ready()
        except TimeoutError:
            return False
        return True

    @contextmanager
    def _broken_off_after(self, seconds: float) -> Iterator[None]:
        """For calls that may not come to their end even when they are cancelled."""
        timer = asyncio.get_running_loop().call_later(seconds, self._socket.abort)
        try:
            yield
        finally:
            timer.cancel()


class _Socket(TransportFactory):
    """Opens the socket of one connection, and keeps hold of it."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await factory.create(url, **options)
        return reader, self._writer

    def abort(self) -> None:
        """Ends it at once, with all that waits for it."""
        if self._writer is not None:
            self._writer.transport.abort()
