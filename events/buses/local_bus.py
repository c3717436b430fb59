"""The bus inside one process: bounded queues (face: `events/bus.py`)."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import structlog

from events.bus import Notice, Work
from events.errors import BatchmillError

_logger = structlog.get_logger()
NOTICES: Final = 10_000
"""Most notices kept; over it the oldest are dropped, and found in the log."""
CHUNKS: Final = 10_000
"""Most chunks kept a route; over it the oldest are dropped. The dispatcher keeps far fewer ready, so these
were taken elsewhere, or nobody in this process takes any: workers find them on the board."""

PAUSE: Final = 0.1
"""Seconds before a chunk whose handling failed is offered again."""

M = TypeVar("M", Notice, Work)


class LocalBus:
    """A `Bus` for the embedded stack."""

    def __init__(self) -> None:
        self._notices: _Queue[Notice] = _Queue(NOTICES)
        self._work: dict[str, _Queue[Work]] = {}
        self._wakes: list[Callable[[Sequence[Notice]], None]] = []
        self._taking: set[_Taking] = set()

    async def announce(self, notices: Sequence[Notice]) -> None:
        """See `Bus.announce`."""
        for notice in notices:
            self._notices.put(notice)
        for wake in list(self._wakes):
            wake(notices)
        await asyncio.sleep(0)  # whoever is woken goes first, on its way to the first line

    async def offer(self, route: str, work: Work) -> None:
        """See `Bus.offer`. What waits already is not kept twice."""
        self._route(route).put(work)

    async def take_notices(self, handle: Callable[[Notice], Awaitable[None]]) -> "_Taking":
        """See `Bus.take_notices`."""
        return self._take(self._notices, 1, handle, again=False)

    async def take_work(
        self, route: str, prefetch: int, handle: Callable[[Work], Awaitable[None]]
    ) -> "_Taking":
        """See `Bus.take_work`."""
        return self._take(self._route(route), prefetch, handle, again=True)

    def on_wake(self, wake: Callable[[Sequence[Notice]], None]) -> Callable[[], None]:
        """See `Bus.on_wake`."""
        self._wakes.append(wake)
        return lambda: self._wakes.remove(wake) if wake in self._wakes else None

    async def close(self) -> None:
        """See `Bus.close`."""
        for taking in list(self._taking):
            await taking.end()
        self._taking.clear()
        self._wakes.clear()
        self._notices = _Queue(NOTICES)
        self._work.clear()

    def _route(self, route: str) -> "_Queue[Work]":
        return self._work.setdefault(route, _Queue(CHUNKS))

    def _take(
        self, queue: "_Queue[M]", hands: int, handle: Callable[[M], Awaitable[None]], *, again: bool
    ) -> "_Taking":
        taking = _Taking([_Hand(queue, handle, again) for _ in range(hands)])
        self._taking = {other for other in self._taking if not other.ended} | {taking}
        return taking


class _Queue(Generic[M]):
    """First in, first out, each once; over its bound the oldest goes."""

    def __init__(self, bound: int) -> None:
        self.told: str | None = None  # why messages are not handled, until one is
        self._bound = bound
        self._items: OrderedDict[M, None] = OrderedDict()
        self._filled = asyncio.Event()

    def put(self, item: M) -> None:
        self._items[item] = None
        if len(self._items) > self._bound:
            self._items.popitem(last=False)
        self._filled.set()

    def put_back(self, item: M) -> None:
        self._items[item] = None
        self._items.move_to_end(item, last=False)
        self._filled.set()

    async def get(self) -> M:
        """Takes the first; a cancelled wait has taken nothing."""
        while not self._items:
            self._filled.clear()
            await self._filled.wait()
        return self._items.popitem(last=False)[0]


class _Hand(Generic[M]):
    """Handles one message at a time."""

    def __init__(self, queue: _Queue[M], handle: Callable[[M], Awaitable[None]], again: bool) -> None:
        self._queue: _Queue[M] = queue
        self._handle: Callable[[M], Awaitable[None]] = handle
        self._again = again
        self._busy = False
        self._stopping = False
        self.task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Takes nothing more; what it holds is finished."""
        self._stopping = True
        if not self._busy:
            self.task.cancel()

    async def _run(self) -> None:
        while not self._stopping:
            message = await self._queue.get()
            self._busy = True
            try:
                await self._handle(message)
                self._queue.told = None
            except asyncio.CancelledError:
                if self.task.cancelling():
                    if self._again:
                        self._queue.put_back(message)
                    raise
                self._offer_later(message)
            except BatchmillError as error:
                self._tell(message, str(error))
                self._offer_later(message)
            except Exception:  # a defect of the handler must not cost the subscription a hand
                _logger.exception("message not handled", message=repr(message))
                self._offer_later(message)
            finally:
                self._busy = False

    def _tell(self, message: M, reason: str) -> None:
        """Once for all messages and tries that fail for one reason, such as a database that is away."""
        if reason != self._queue.told:
            self._queue.told = reason
            _logger.warning("message not handled", message=repr(message), reason=reason)

    def _offer_later(self, message: M) -> None:
        if self._again:
            asyncio.get_running_loop().call_later(PAUSE, self._queue.put, message)


class _Taking:
    """A subscription: as many hands as messages may be in work at once."""

    def __init__(self, hands: "Sequence[_Hand[Notice] | _Hand[Work]]") -> None:
        self._hands = hands

    @property
    def ended(self) -> bool:
        """Whether it takes nothing more and nothing is being handled."""
        return all(hand.task.done() for hand in self._hands)

    async def cancel(self) -> None:
        """See `Subscription.cancel`."""
        for hand in self._hands:
            hand.stop()

    async def end(self) -> None:
        """Stops at once: what is being handled is cancelled, and offered again where that is promised."""
        await self.cancel()
        for hand in self._hands:
            hand.task.cancel()
        await asyncio.gather(*(hand.task for hand in self._hands), return_exceptions=True)
