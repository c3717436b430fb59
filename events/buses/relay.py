"""The relay: a follower's handler that publishes the whole log, in order, at least once, for others.

The log is the outbox: the checkpoint moves when the broker has confirmed, so a crash repeats events and
leaves none out. Whoever reads drops the stream versions it has seen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import structlog

from events.buses.cloud_event import message, routing_key
from events.buses.rabbit_publisher import Outgoing, Publisher
from events.errors import BusUnavailable
from events.event import RecordedEvent
from events.read_models import ModelWrite

_logger = structlog.get_logger()
PAUSE: Final = 1.0
"""Seconds before events that the broker did not confirm are published again."""
TOGETHER: Final = 100
"""Most events that are published before their confirms are waited for. After a failure they go one by one: a
queue with room for a few gets those, and nobody gets the rest again and again."""


class Relay:
    """`handle` is what a `Follower` wants. `incarnation` tells which incarnation of the log is read."""

    def __init__(
        self, publisher: Publisher, exchange: str, incarnation: Callable[[], Awaitable[UUID]]
    ) -> None:
        self._publisher = publisher
        self._exchange = exchange
        self._incarnation = incarnation

    async def handle(self, events: Sequence[RecordedEvent]) -> Sequence[ModelWrite]:
        """Publishes events and returns when the broker has them all. Without a broker it tries for as long as
        it is let: an error would end its leader, and with it the followers that need no broker."""
        incarnation = await self._incarnation()
        messages = [
            # Nobody listening is normal: not mandatory.
            Outgoing(message(event, incarnation), self._exchange, routing_key(event), mandatory=False)
            for event in events
        ]
        told: str | None = None
        together, done = TOGETHER, 0
        while done < len(messages):
            try:
                await self._publisher.publish(messages[done : done + together])
            except BusUnavailable as error:
                together = 1
                if str(error) != told:
                    told = str(error)
                    _logger.warning("events not relayed yet", position=events[done].position, reason=told)
                await asyncio.sleep(PAUSE)
            else:
                done += together
        return ()
