"""What stands on the broker: every exchange, queue and argument, and how each comes to be.

    announce ─▶ batchmill.new.v1 (direct) ─notice─▶ batchmill.notices.v1     one receiver gets each
                                           └─wake──▶ a queue of each process  every process gets each
    offer ────▶ batchmill.work.<route>.v1                                     one worker gets each
                    └─ delivered too often, or no message ─▶ batchmill.dead.v1 (fanout, and a queue)
    relay ────▶ batchmill.events.v1 (topic)                                   for whoever binds a queue

Every process declares what it needs when it needs it; equal declarations from any number of processes are
one. An argument that changes is an error to the broker, so a change of arguments is a change of the names'
`v1`. Arguments are those that mean the same on RabbitMQ 3.10 to 4.3: a quorum queue by name, since that is
the only kind that outlives its node; the delivery limit always spelled out, since without it 3.x has none and
4.x has 20. It counts what is given back by a lost connection or a dead process (from 4.3 not what is nacked),
so no part of this program gives back by reject what it wants again.
"""

from typing import Final

import msgspec
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractQueue
from pamqp.common import FieldTable

NOTICE: Final = "notice"
WAKE: Final = "wake"
"""Routing keys of the exchange of new events."""

DELIVERIES: Final = 20
"""Times that the broker hands out one message again; what is dropped then is found in the log."""
NOTICES: Final = 10_000
"""Most notices kept; over it the oldest are dropped, and found in the log."""
CHUNKS: Final = 10_000
"""Most chunks kept a route; over it the broker refuses. The dispatcher keeps far fewer."""
IN_HAND: Final = 2_000
"""Most messages that a quorum queue hands to one consumer before they are acknowledged."""
WAKES: Final = 1_000
"""Most wakes kept for a process that does not listen; the oldest are dropped."""
DEAD: Final = 10_000
"""Most dead letters kept; they are there to be counted and looked at."""

_QUORUM: Final[FieldTable] = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERIES}


class Topology(msgspec.Struct, frozen=True):
    """The names of one installation; installations on one virtual host differ in `prefix`."""

    prefix: str = "batchmill"

    @property
    def news(self) -> str:
        """The exchange of new events."""
        return f"{self.prefix}.new.v1"

    @property
    def notices(self) -> str:
        """The queue that receivers of notices compete for."""
        return f"{self.prefix}.notices.v1"

    @property
    def all_events(self) -> str:
        """The exchange of all events, for others."""
        return f"{self.prefix}.events.v1"

    @property
    def dead(self) -> str:
        """The exchange of dead letters, and its queue."""
        return f"{self.prefix}.dead.v1"

    def work(self, route: str) -> str:
        """The queue of a route's chunks; the default exchange leads to it."""
        return f"{self.prefix}.work.{route}.v1"

    async def declare_news(self, channel: AbstractChannel) -> None:
        """The exchange of new events alone."""
        await channel.declare_exchange(self.news, ExchangeType.DIRECT, durable=True)

    async def declare_notices(self, channel: AbstractChannel) -> AbstractQueue:
        """The exchange of new events, and the queue of notices on it."""
        await self.declare_news(channel)
        arguments: FieldTable = {**_QUORUM, "x-max-length": NOTICES, "x-overflow": "drop-head"}
        queue = await channel.declare_queue(self.notices, durable=True, arguments=arguments)
        await queue.bind(self.news, NOTICE)
        return queue

    async def declare_wakes(self, channel: AbstractChannel) -> AbstractQueue:
        """The exchange of new events, and a queue on it that lives and dies with this connection."""
        await self.declare_news(channel)
        arguments: FieldTable = {"x-max-length": WAKES, "x-overflow": "drop-head"}
        queue = await channel.declare_queue(exclusive=True, auto_delete=True, arguments=arguments)
        await queue.bind(self.news, WAKE)
        return queue

    async def declare_work(self, channel: AbstractChannel, route: str) -> AbstractQueue:
        """The queue of a route, and where its dead letters go."""
        await channel.declare_exchange(self.dead, ExchangeType.FANOUT, durable=True)
        letters: FieldTable = {**_QUORUM, "x-max-length": DEAD, "x-overflow": "drop-head"}
        dead = await channel.declare_queue(self.dead, durable=True, arguments=letters)
        await dead.bind(self.dead)
        arguments: FieldTable = {
            **_QUORUM,
            "x-max-length": CHUNKS,
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": self.dead,
        }
        return await channel.declare_queue(self.work(route), durable=True, arguments=arguments)

    async def declare_all_events(self, channel: AbstractChannel) -> None:
        """The exchange that the relay publishes to; queues on it are their readers' own."""
        await channel.declare_exchange(self.all_events, ExchangeType.TOPIC, durable=True)
