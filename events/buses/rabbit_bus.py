"""The bus over RabbitMQ, for many processes (face: `events/bus.py`; what stands there: `topology.py`).

Two connections: one publishes, one takes, since a broker that is short of memory stops reading from whoever
publishes, and acknowledgements must not wait with them.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final, TypeVar

import msgspec
import structlog
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractIncomingMessage

from events.bus import Notice, Work
from events.buses.broker_connection import broker_calls
from events.buses.broker_link import Link
from events.buses.rabbit_publisher import Declare, Outgoing, Publisher, Unroutable
from events.buses.rabbit_subscription import DeclareQueue, Subscription, Take
from events.buses.topology import IN_HAND, NOTICE, NOTICES, WAKE, Topology
from events.errors import BatchmillError, BusUnavailable
from events.origin import PROCESS

_logger = structlog.get_logger()
PATIENCE: Final = 5.0
"""Seconds within which the broker answers."""
WATCH: Final = 10.0
"""Seconds after which a subscription that gets nothing looks whether there is something to get."""
PAUSE: Final = 0.1
"""Seconds before a chunk whose handling failed is offered again."""
GONE: Final = 0.3
"""Seconds before a publisher declares a queue that is not there: its consumers must hear first that it
was deleted. RabbitMQ 3.10 moves a consumer that has not heard to the new queue, and drops messages there."""
TOGETHER: Final = 100
"""Most notices that are published before their confirms are waited for."""
LAST_WORDS: Final = 1.0
"""Seconds that closing waits for notices on their way."""

M = TypeVar("M")


class RabbitBus:
    """A `Bus` on one broker. Make it where the loop runs: it begins to connect at once, and needs no broker
    to begin. `watch` says when it has ended by a defect of its own."""

    def __init__(
        self,
        url: str,
        topology: Topology | None = None,
        *,
        patience: float = PATIENCE,
        watch: float = WATCH,
    ) -> None:
        self.topology = topology or Topology()
        self._patience = patience
        self._watch = watch
        self._name = secrets.token_hex(8)
        self._wakes: list[Callable[[Sequence[Notice]], None]] = []
        self._waking: Subscription | None = None
        self._subscriptions: set[Subscription] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._to_publish = Link(url, f"batchmill {PROCESS} publishes", patience)
        self._to_take = Link(url, f"batchmill {PROCESS} takes", patience)
        self._offers = self.publisher()
        self._notices = _Outbox(self._to_publish, self._publish_notices)
        self._own_wakes = _Outbox(self._to_publish, self._publish_wakes)
        self._notice_channel = self.publisher(self.topology.declare_news)
        self._wake_channel = self.publisher(self.topology.declare_news)
        for run in (self._to_publish.run, self._to_take.run, self._notices.run, self._own_wakes.run):
            self._own(asyncio.create_task(run()))

    @property
    def connected(self) -> bool:
        """Whether both connections stand; health pages show it, nothing depends on it."""
        return self._to_publish.connected and self._to_take.connected

    async def connect(self, within: float) -> bool:
        """Waits for both connections, at most so many seconds; whether they stand. They are made in any case:
        this only spares a start with a broker at hand its first refusals."""
        try:
            async with asyncio.timeout(within):
                await self._to_publish.connection()
                await self._to_take.connection()
        except TimeoutError:
            return False
        return True

    def publisher(self, declare: Declare | None = None) -> Publisher:
        """A channel of one's own on the connection that publishes."""
        return Publisher(self._to_publish, self._patience, declare)

    async def watch(self) -> None:
        """Runs as long as all is well; raises what ended a part of the bus."""
        await asyncio.shield(self._failed)

    async def announce(self, notices: Sequence[Notice]) -> None:
        """See `Bus.announce`. Wakes of this process are called at once, broker or not; the rest goes out
        behind the caller's back."""
        for wake in list(self._wakes):
            wake(notices)
        self._notices.put(notices)
        self._own_wakes.put(notices)

    async def offer(self, route: str, work: Work) -> None:
        """See `Bus.offer`."""
        message = _message(work, Work.__name__)
        await self._publish_to_queue(
            self._offers,
            [Outgoing(message, "", self.topology.work(route), mandatory=True)],
            lambda channel: self.topology.declare_work(channel, route),
        )

    async def take_notices(self, handle: Callable[[Notice], Awaitable[None]]) -> Subscription:
        """See `Bus.take_notices`."""

        async def take(message: AbstractIncomingMessage) -> None:
            notice = _decoded(message, Notice)
            if notice is not None:
                await self._handled(handle, notice)
            await self._answer(message.ack())

        return await self._subscribe(self.topology.declare_notices, take, hands=1)

    async def take_work(
        self, route: str, prefetch: int, handle: Callable[[Work], Awaitable[None]]
    ) -> Subscription:
        """See `Bus.take_work`. A chunk whose handling failed is published anew: given back, it would count
        as one that kills its workers."""

        async def take(message: AbstractIncomingMessage) -> None:
            work = _decoded(message, Work)
            if work is None:
                await self._answer(message.reject())  # a dead letter
            elif await self._handled(handle, work):
                await self._answer(message.ack())
            else:
                await asyncio.sleep(PAUSE)
                await self._offer_again(route, work, message)

        return await self._subscribe(
            lambda channel: self.topology.declare_work(channel, route), take, hands=min(prefetch, IN_HAND)
        )

    def on_wake(self, wake: Callable[[Sequence[Notice]], None]) -> Callable[[], None]:
        """See `Bus.on_wake`."""
        if self._waking is None:
            self._waking = self._subscription(
                self.topology.declare_wakes, self._woken, hands=1, unacknowledged=True
            )
        self._wakes.append(wake)
        return lambda: self._wakes.remove(wake) if wake in self._wakes else None

    async def close(self) -> None:
        """See `Bus.close`. Notices on their way get a moment."""
        try:
            async with asyncio.timeout(LAST_WORDS):
                await self._notices.emptied()
                await self._own_wakes.emptied()
        except TimeoutError:
            _logger.debug("notices not published; they are found in the log")
        await asyncio.gather(*(subscription.end() for subscription in self._subscriptions))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._wakes.clear()
        self._failed.cancel()

    async def _subscribe(self, declare: DeclareQueue, take: Take, *, hands: int) -> Subscription:
        """Returns when it takes messages, or after a moment without a broker: it goes on trying."""
        subscription = self._subscription(declare, take, hands=hands)
        try:
            async with asyncio.timeout(self._patience if self._to_take.connected else 0.0):
                await subscription.taking.wait()
        except TimeoutError:
            _logger.debug("no broker yet; subscribed as soon as there is one")
        return subscription

    def _subscription(
        self, declare: DeclareQueue, take: Take, *, hands: int, unacknowledged: bool = False
    ) -> Subscription:
        subscription = Subscription(
            self._to_take,
            declare,
            take,
            hands=hands,
            patience=self._patience,
            watch=self._watch,
            unacknowledged=unacknowledged,
        )
        self._subscriptions = {other for other in self._subscriptions if not other.task.done()}
        self._subscriptions.add(subscription)
        for task in subscription.tasks:
            self._own(task)
        return subscription

    def _own(self, task: asyncio.Task[None]) -> None:
        """Notices when a task of the bus ends by an error."""
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _publish_notices(self, notices: Sequence[Notice]) -> None:
        messages = [
            Outgoing(_message(notice, Notice.__name__), self.topology.news, NOTICE, mandatory=True)
            for notice in notices
        ]
        await self._publish_to_queue(self._notice_channel, messages, self.topology.declare_notices)

    async def _publish_wakes(self, notices: Sequence[Notice]) -> None:
        message = Message(
            msgspec.json.encode(notices), content_type="application/json", app_id=self._name, type=WAKE
        )
        await self._wake_channel.publish([Outgoing(message, self.topology.news, WAKE, mandatory=False)])

    async def _publish_to_queue(
        self, publisher: Publisher, messages: Sequence[Outgoing], declare: Declare
    ) -> None:
        """Publishes to a queue of ours; one that is not there is declared."""
        try:
            await publisher.publish(messages)
        except Unroutable:
            await asyncio.sleep(GONE)
            await publisher.declare(declare)
            await publisher.publish(messages)

    async def _offer_again(self, route: str, work: Work, message: AbstractIncomingMessage) -> None:
        try:
            await self.offer(route, work)
        except BusUnavailable:
            await self._answer(message.nack(requeue=True))
        else:
            await self._answer(message.ack())

    async def _handled(self, handle: Callable[[M], Awaitable[None]], message: M) -> bool:
        """Whether the handler came to its end."""
        try:
            await handle(message)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
        except BatchmillError as error:
            _logger.warning("message not handled", message=repr(message), reason=str(error))
        except Exception:  # a defect of the handler must not cost the subscription a hand
            _logger.exception("message not handled", message=repr(message))
        else:
            return True
        return False

    async def _answer(self, answer: Coroutine[object, object, None]) -> None:
        """Acknowledges; on a channel that has died the message comes again, and the log decides."""
        try:
            async with broker_calls(self._patience, "not acknowledged"):
                await answer
        except BusUnavailable as error:
            _logger.debug("not acknowledged; the message comes again", reason=str(error))

    async def _woken(self, message: AbstractIncomingMessage) -> None:
        notices = None if message.app_id == self._name else _decoded(message, list[Notice])
        if notices is not None:
            for wake in list(self._wakes):
                wake(notices)


class _Outbox:
    """Notices on their way: bounded, the oldest go first when it is full; without a broker they wait."""

    def __init__(self, link: Link, publish: Callable[[Sequence[Notice]], Awaitable[None]]) -> None:
        self._link = link
        self._publish = publish
        self._waiting: deque[Notice] = deque(maxlen=NOTICES)
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    def put(self, notices: Sequence[Notice]) -> None:
        self._waiting.extend(notices)
        if self._waiting:
            self._filled.set()
            self._emptied.clear()

    async def emptied(self) -> None:
        """Until all are published or lost."""
        await self._emptied.wait()

    async def run(self) -> None:
        """Publishes until cancelled; what the broker does not take is lost, and told once for one reason."""
        told: str | None = None
        while True:
            await self._filled.wait()
            await self._link.connection()
            notices = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
            try:
                await self._publish(notices)
                told = None
            except BusUnavailable as error:
                if str(error) != told:
                    told = str(error)
                    _logger.warning("notices lost; found in the log", notices=len(notices), reason=told)
            if not self._waiting:
                self._filled.clear()
                self._emptied.set()


def _message(content: Notice | Work, type_: str) -> Message:
    return Message(
        msgspec.json.encode(content),
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT,
        type=type_,
    )


def _decoded(message: AbstractIncomingMessage, type_: type[M]) -> M | None:
    """What a message says; None for one that this program does not understand."""
    try:
        return msgspec.json.decode(message.body, type=type_)
    except msgspec.MsgspecError as error:
        _logger.warning("message not understood", queue=message.routing_key, reason=str(error))
        return None
