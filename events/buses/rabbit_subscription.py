"""Taking messages from one queue, for as long as it is wanted and whatever becomes of the broker.

    waiting for a connection ─▶ subscribing ─▶ taking ──cancel──▶ finishing ─▶ done
        ▲                           │             │
        └───── channel closed, consumer cancelled, queue gone, no answer, nothing comes

Each time round everything is made anew: channel, queue, consumer. What was in hand is finished; its
acknowledgement is lost with its channel, and the log decides about the message that comes again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from events.buses.broker_connection import Connection, NoAnswer, broker_calls
from events.buses.broker_link import Link
from events.errors import BusUnavailable

_logger = structlog.get_logger()
PAUSE: Final = 0.5
"""Seconds between two tries to subscribe."""
SILENT: Final = 2
"""Tries that a queue may leave unanswered; then it is deleted. On RabbitMQ 3.10 a quorum queue whose node was
killed within a second of the declaration never answers again. Messages are hints: the log has them."""
DELETION: Final = 15.0
"""Seconds within which a queue is deleted; one that answers nothing takes five."""

Take = Callable[[AbstractIncomingMessage], Awaitable[None]]
DeclareQueue = Callable[[AbstractChannel], Awaitable[AbstractQueue]]


class Hands:
    """As many messages in hand at once as there are hands; `take` answers for each message itself."""

    def __init__(self, count: int, take: Take) -> None:
        self._take = take
        self._inbox: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self._busy = 0
        self._rest = asyncio.Event()
        self._rest.set()
        self.taken = 0
        self.tasks = [asyncio.create_task(self._run()) for _ in range(count)]

    @property
    def idle(self) -> bool:
        """Whether nothing is in hand or waits for one."""
        return not self._busy and self._inbox.empty()

    def put(self, message: AbstractIncomingMessage) -> None:
        """The broker bounds how many wait, by the prefetch."""
        self._inbox.put_nowait(message)

    def empty(self) -> list[AbstractIncomingMessage]:
        """What waits, taken from it."""
        waiting = []
        with suppress(asyncio.QueueEmpty):
            while True:
                waiting.append(self._inbox.get_nowait())
        return waiting

    async def rest(self) -> None:
        """Until nothing is in hand."""
        await self._rest.wait()

    async def _run(self) -> None:
        while True:
            message = await self._inbox.get()
            self._busy += 1
            self._rest.clear()
            self.taken += 1
            try:
                await self._take(message)
            finally:
                self._busy -= 1
                if not self._busy:
                    self._rest.set()


class Subscription:
    """A `Subscription` of the bus (face: `events/bus.py`) on one queue.

    `unacknowledged`: the broker forgets messages as it sends them. `watch` is how many seconds a subscription
    may get nothing while its queue has messages.
    """

    def __init__(
        self,
        link: Link,
        declare: DeclareQueue,
        take: Take,
        *,
        hands: int,
        patience: float,
        watch: float,
        unacknowledged: bool = False,
    ) -> None:
        self._link = link
        self._declare = declare
        self._patience = patience
        self._watch = watch
        self._unacknowledged = unacknowledged
        self._hands = Hands(hands, take)
        self._queue: AbstractQueue | None = None
        self._tag: str | None = None
        self._stopping = asyncio.Event()
        self._silent = 0
        self._told: str | None = None
        self.taking = asyncio.Event()
        self.task = asyncio.create_task(self._run())
        self.tasks = [self.task, *self._hands.tasks]

    async def cancel(self) -> None:
        """See `Subscription.cancel`."""
        self._stopping.set()
        queue, tag, self._tag = self._queue, self._tag, None
        if queue is None or tag is None:
            return
        waiting = self._hands.empty()
        try:
            async with broker_calls(self._patience, f"not cancelled in order: {queue.name}"):
                await queue.cancel(tag)
                for message in waiting:
                    await message.nack(requeue=True)
        except BusUnavailable as error:
            _logger.debug("the broker gives back what it holds when the channel ends", reason=str(error))

    async def end(self) -> None:
        """Stops at once; the broker offers again what was in hand."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _run(self) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        working = asyncio.create_task(self._work())
        try:
            await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                await self._hands.rest()
            else:
                await working
        finally:
            for task in (stopping, working):
                task.cancel()
            await asyncio.gather(stopping, working, return_exceptions=True)
            for hand in self._hands.tasks:
                hand.cancel()

    async def _work(self) -> None:
        while not self._stopping.is_set():
            connection = await self._link.connection()
            try:
                await self._consume(connection)
            except BusUnavailable as error:
                if str(error) != self._told:
                    self._told = str(error)
                    _logger.warning("subscription renewed", reason=self._told)
            await asyncio.sleep(PAUSE)

    async def _consume(self, connection: Connection) -> None:
        """Takes messages until something ends it. Raises `BusUnavailable` where it ends for a reason."""
        ended = asyncio.Event()
        channel = await self._open(connection)
        try:
            channel.close_callbacks.add(lambda *_: ended.set())
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda _: ended.set())
            async with broker_calls(self._patience, "queue not declared"):
                await channel.set_qos(prefetch_count=len(self._hands.tasks))
                queue = await self._declare(channel)
            await self._subscribe(connection, queue)
            if not self._stopping.is_set():
                await self._until(ended, channel, queue)
        finally:
            self.taking.clear()
            self._queue = self._tag = None
            self._hands.empty()
            await connection.leave(channel)

    async def _open(self, connection: Connection) -> AbstractChannel:
        try:
            async with broker_calls(self._patience, "no channel opened"):
                channel = connection.channel(publisher_confirms=False)
                await channel.initialize()
                return channel
        except BusUnavailable as error:
            self._link.give_up(connection, str(error))
            raise

    async def _subscribe(self, connection: Connection, queue: AbstractQueue) -> None:
        try:
            async with broker_calls(self._patience, f"queue {queue.name} not consumed"):
                self._tag = await queue.consume(self._arrived, no_ack=self._unacknowledged)
        except NoAnswer:
            self._silent += 1
            if self._silent >= SILENT:
                await self._delete(connection, queue.name)
            raise
        self._silent = 0
        self._told = None
        self._queue = queue
        self.taking.set()

    async def _delete(self, connection: Connection, name: str) -> None:
        self._silent = 0
        channel = await self._open(connection)
        try:
            async with broker_calls(DELETION, f"queue {name} does not answer and cannot be deleted"):
                await channel.queue_delete(name)
            _logger.warning("queue that does not answer deleted", queue=name)
        finally:
            await connection.leave(channel)

    async def _until(self, ended: asyncio.Event, channel: AbstractChannel, queue: AbstractQueue) -> None:
        """Until the channel or consumer ends, or the watch finds a broker that does not answer, or a queue
        that fills and sends nothing: a consumer that the broker has forgotten."""
        starved = False
        while True:
            taken = self._hands.taken
            with suppress(TimeoutError):
                async with asyncio.timeout(self._watch):
                    await ended.wait()
                return
            waiting = await self._waiting(channel, queue)
            starves = waiting > 0 and self._hands.idle and self._hands.taken == taken
            if starves and starved:
                raise BusUnavailable(f"queue {queue.name} has {waiting} messages and sends none")
            starved = starves

    async def _waiting(self, channel: AbstractChannel, queue: AbstractQueue) -> int:
        async with broker_calls(self._patience, f"queue {queue.name} not looked at"):
            seen = await channel.declare_queue(queue.name, passive=True)
        return seen.declaration_result.message_count or 0

    async def _arrived(self, message: AbstractIncomingMessage) -> None:
        if self._stopping.is_set():
            await message.nack(requeue=True)
        else:
            self._hands.put(message)
