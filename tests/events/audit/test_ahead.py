"""What is read ahead comes in order, one at a time, and ends as it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from events.audit.ahead import ahead


class Source:
    """Gives numbers, and fails behind `fails` of them; notes how many it was asked for."""

    def __init__(self, count: int, fails: int | None = None) -> None:
        self.count = count
        self.fails = fails
        self.asked = 0
        self.closed = False

    async def read(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self.count):
                self.asked += 1
                if number == self.fails:
                    raise ConnectionError("the source is gone")
                await asyncio.sleep(0)
                yield number
        finally:
            self.closed = True


async def test_all_of_it_comes_in_order_and_one_is_read_ahead() -> None:
    source = Source(5)
    seen = []
    async for number in ahead(source.read()):
        seen.append(number)
        for _ in range(5):
            await asyncio.sleep(0)
        assert source.asked == min(5, number + 2)
    assert seen == [0, 1, 2, 3, 4]


async def test_a_failure_comes_where_it_happened() -> None:
    numbers = ahead(Source(5, fails=2).read())
    assert [await anext(numbers), await anext(numbers)] == [0, 1]
    with pytest.raises(ConnectionError):
        await anext(numbers)


async def test_who_leaves_closes_the_source() -> None:
    source = Source(5, fails=1)
    async with aclosing(ahead(source.read())) as numbers:
        async for _ in numbers:
            await asyncio.sleep(0)
            break
    assert source.closed


async def test_whoever_is_cancelled_leaves_nothing_running() -> None:
    async def hang() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.Event().wait()
        yield 2

    async def read() -> None:
        async with aclosing(ahead(hang())) as numbers:
            async for _ in numbers:
                pass

    reading = asyncio.create_task(read())
    for _ in range(5):
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert asyncio.all_tasks() == {asyncio.current_task()}
