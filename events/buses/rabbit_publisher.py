"""Publishing with confirms: what returns without an error is with the broker, on disk where it is durable."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
from aio_pika import Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError, PublishError

from events.buses.broker_connection import broker_calls
from events.buses.broker_link import Link
from events.errors import BusUnavailable

Declare = Callable[[AbstractChannel], Awaitable[object]]


class Unroutable(BusUnavailable):
    """No queue takes messages of that name."""


class Refused(BusUnavailable):
    """The broker took nothing: the queue is full."""


class Outgoing(msgspec.Struct, frozen=True):
    """A message and where it goes. `mandatory`: a queue must take it, else `Unroutable`."""

    message: Message
    exchange: str
    routing_key: str
    mandatory: bool


class Publisher:
    """One channel on a link, opened when it is needed, and anew after any failure.

    `declare` is called on each new channel: what is published to must stand.
    """

    def __init__(self, link: Link, patience: float, declare: Declare | None = None) -> None:
        self._link = link
        self._patience = patience
        self._declare = declare
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publishes in order, without waiting between two messages, and returns when all are confirmed.

        Raises `BusUnavailable`: at once where there is no connection or a broker that takes nothing, else
        within `patience` seconds and a goodbye; it is unknown then which messages the broker has. Of its
        kinds, `Unroutable` says that a message has no queue, `Refused` that its queue is full.
        """
        async with self._calls("not published") as channel:
            await _confirmed(channel, messages)

    async def declare(self, declare: Declare) -> None:
        """Declares what was found missing. Raises `BusUnavailable`."""
        async with self._calls("not declared") as channel:
            await declare(channel)

    @asynccontextmanager
    async def _calls(self, what: str) -> AsyncIterator[AbstractChannel]:
        """The channel for calls to the broker. A call that fails spends the channel; a connection that opens
        none is spent, too."""
        connection = await self._link.connection_to_publish()
        channel: AbstractChannel | None = None
        try:
            async with broker_calls(self._patience, what):
                async with self._opening:
                    if self._channel is None or self._channel.is_closed:
                        # Without on_return_raises a message that no queue takes looks like a success.
                        fresh = connection.channel(publisher_confirms=True, on_return_raises=True)
                        await fresh.initialize()
                        channel = fresh
                        if self._declare is not None:
                            await self._declare(channel)
                        self._channel = channel
                    else:
                        channel = self._channel
                yield channel
        except Refused:
            raise
        except BusUnavailable as error:
            # Unroutable too: what a channel sends to a quorum queue that was deleted and declared again since
            # its last message there, RabbitMQ 3.10 confirms and never delivers.
            if channel is None:
                self._link.give_up(connection, str(error))
            else:
                if self._channel is channel:
                    self._channel = None
                await connection.leave(channel)
            raise


async def _confirmed(channel: AbstractChannel, messages: Sequence[Outgoing]) -> None:
    """Frames leave in the order of `messages`: tasks start in order, and the channel's lock is fair."""
    results = await asyncio.gather(*(_publish(channel, each) for each in messages), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _publish(channel: AbstractChannel, each: Outgoing) -> None:
    exchange = await channel.get_exchange(each.exchange, ensure=False)
    try:
        await exchange.publish(each.message, each.routing_key, mandatory=each.mandatory)
    except PublishError as error:
        raise Unroutable(f"no queue takes {each.routing_key!r} of exchange {each.exchange!r}") from error
    except DeliveryError as error:
        raise Refused(f"the broker refused {each.routing_key!r}: its queue is full") from error
