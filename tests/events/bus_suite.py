"""What every transport of the bus promises. A test module gives it a `bus` fixture and imports the tests."""

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest
from structlog.typing import EventDict

from events.bus import Bus, Notice, Work
from events.errors import BatchmillError, BusUnavailable

PATIENCE: Final = 60.0
"""Seconds after which a message that did not come is a failure; nothing is ever awaited for that long."""
NOTICE: Final = Notice("batch_1", "BatchCreated", 1)


def notices(count: int) -> list[Notice]:
    return [Notice(f"batch_{n}", "BatchCreated", n) for n in range(count)]


class Handler:
    """Keeps what it gets; holds each message until released, or fails as often as told."""

    def __init__(
        self, *, failures: int = 0, holds: bool = False, error: type[BaseException] = BatchmillError
    ):
        self.got: asyncio.Queue[Notice | Work] = asyncio.Queue()
        self.released = asyncio.Event()
        self.in_hand = 0
        self.most_in_hand = 0
        self._failures = failures
        self._error = error
        if not holds:
            self.released.set()

    async def __call__(self, message: Notice | Work) -> None:
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        self.got.put_nowait(message)
        try:
            await self.released.wait()
            if self._failures:
                self._failures -= 1
                raise self._error("told to fail")
        finally:
            self.in_hand -= 1

    async def next(self) -> Notice | Work:
        async with asyncio.timeout(PATIENCE):
            return await self.got.get()


async def placed(bus: Bus, work: Work) -> None:
    """Offers as the dispatcher does: again and again, until the broker has it."""
    async with asyncio.timeout(2 * PATIENCE):
        while True:
            try:
                await bus.offer("gpu", work)
            except BusUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def told(logs: Sequence[EventDict], words: str) -> None:
    """Until a line that was logged gives these words as its reason."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if any(words in str(line.get("reason")) for line in logs):
                return
            await asyncio.sleep(0.01)


async def test_a_notice_goes_to_one_receiver_and_wakes_all(bus: Bus) -> None:
    one, other = Handler(), Handler()
    await bus.take_notices(one)
    await bus.take_notices(other)
    woken: list[str] = []
    both = asyncio.Event()

    def wake(name: str) -> None:
        woken.append(name)
        if len(woken) == 2:
            both.set()

    bus.on_wake(lambda got: wake(f"first {len(got)}"))
    bus.on_wake(lambda got: wake(f"second {len(got)}"))
    await bus.announce([NOTICE])
    async with asyncio.timeout(PATIENCE):
        await both.wait()
        waiting = {asyncio.create_task(handler.next()) for handler in (one, other)}
        done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    assert sorted(woken) == ["first 1", "second 1"]
    assert [task.result() for task in done] == [NOTICE]


async def test_receivers_share_what_is_announced(bus: Bus) -> None:
    one, other = Handler(holds=True), Handler(holds=True)
    await bus.take_notices(one)
    await bus.take_notices(other)
    await bus.announce(notices(2))
    assert {await one.next(), await other.next()} == set(notices(2))
    assert (one.most_in_hand, other.most_in_hand) == (1, 1)
    one.released.set()
    other.released.set()


async def test_what_undoes_a_wake_undoes_it(bus: Bus) -> None:
    woken = asyncio.Event()
    handler = Handler()
    undo = bus.on_wake(lambda _: woken.set())
    undo()
    undo()
    await bus.take_notices(handler)
    await bus.announce([NOTICE])
    assert await handler.next() == NOTICE
    assert not woken.is_set()


async def test_a_notice_whose_handling_failed_is_dropped(bus: Bus) -> None:
    handler = Handler(failures=1)
    await bus.take_notices(handler)
    await bus.announce(notices(2))
    assert [await handler.next(), await handler.next()] == notices(2)
    assert handler.got.empty()


async def test_what_was_announced_before_anybody_listened_is_found_when_somebody_does(bus: Bus) -> None:
    await bus.announce([NOTICE])
    handler = Handler()
    await bus.take_notices(handler)
    assert await handler.next() == NOTICE


async def test_a_chunk_goes_to_one_worker_of_its_route(bus: Bus) -> None:
    mine, foreign = Handler(), Handler()
    await bus.take_work("gpu", 1, mine)
    await bus.take_work("cpu", 1, foreign)
    await bus.offer("gpu", Work("batch_1", 1))
    await bus.offer("cpu", Work("batch_1", 2, suspect=True))
    assert await mine.next() == Work("batch_1", 1)
    assert await foreign.next() == Work("batch_1", 2, suspect=True)
    assert mine.got.empty()
    assert foreign.got.empty()


@pytest.mark.parametrize("error", [BatchmillError, ValueError, asyncio.CancelledError])
async def test_a_chunk_whose_handling_failed_is_offered_again(bus: Bus, error: type[BaseException]) -> None:
    handler = Handler(failures=2, error=error)
    await bus.take_work("gpu", 1, handler)
    await bus.offer("gpu", Work("batch_1", 1))
    assert [await handler.next() for _ in range(3)] == [Work("batch_1", 1)] * 3


async def test_no_worker_has_more_in_hand_than_its_prefetch(bus: Bus) -> None:
    handler = Handler(holds=True)
    await bus.take_work("gpu", 3, handler)
    for n in range(10):
        await bus.offer("gpu", Work("batch_1", n))
    first = [await handler.next() for _ in range(3)]
    assert handler.in_hand == 3
    handler.released.set()
    rest = [await handler.next() for _ in range(7)]
    assert {work.claim_id for work in [*first, *rest] if isinstance(work, Work)} == set(range(10))
    assert handler.most_in_hand == 3


async def test_a_cancelled_subscription_takes_nothing_more_and_finishes_what_it_has(bus: Bus) -> None:
    leaving, staying = Handler(holds=True), Handler()
    subscription = await bus.take_work("gpu", 1, leaving)
    await bus.offer("gpu", Work("batch_1", 1))
    assert await leaving.next() == Work("batch_1", 1)
    await subscription.cancel()
    await subscription.cancel()
    await bus.offer("gpu", Work("batch_1", 2))
    await bus.take_work("gpu", 1, staying)
    assert await staying.next() == Work("batch_1", 2)
    leaving.released.set()
    await bus.offer("gpu", Work("batch_1", 3))
    assert await staying.next() == Work("batch_1", 3)
    assert leaving.got.empty()
    assert leaving.in_hand == 0


async def test_an_idle_subscription_can_be_cancelled(bus: Bus) -> None:
    idle, handler = Handler(), Handler()
    await (await bus.take_notices(idle)).cancel()
    await bus.take_notices(handler)
    await bus.announce([NOTICE])
    assert await handler.next() == NOTICE
    assert idle.got.empty()


async def test_closing_stops_every_handler(bus: Bus) -> None:
    handlers = [Handler(holds=True) for _ in range(3)]
    leaving = await bus.take_work("gpu", 1, handlers[0])
    await bus.offer("gpu", Work("batch_1", 1))
    await handlers[0].next()
    await leaving.cancel()
    await bus.take_work("gpu", 2, handlers[1])
    await bus.take_notices(handlers[2])
    await bus.offer("gpu", Work("batch_1", 2))
    await bus.announce([NOTICE])
    await handlers[1].next()
    await handlers[2].next()
    await bus.close()
    assert [handler.in_hand for handler in handlers] == [0, 0, 0]
