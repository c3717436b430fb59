"""Reads on while what was read is used."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

Item = TypeVar("Item")


async def ahead(source: AsyncIterator[Item]) -> AsyncGenerator[Item, None]:
    """What `source` gives. Each next item is read while one is used, so two are held at a time.

    Every item is asked for in a task of its own: between two of them `source` must be in no block that
    belongs to its task, such as a time-out. Whoever does not read to the end closes it. Raises what `source`
    raises.
    """
    following = asyncio.create_task(_next(source))
    try:
        while (item := await following) is not None:
            following = asyncio.create_task(_next(source))
            yield item[0]
    finally:
        following.cancel()
        await asyncio.wait({following})
        if not following.cancelled():
            following.exception()  # of an item that nobody waits for any more
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _next(source: AsyncIterator[Item]) -> tuple[Item] | None:
    try:
        return (await anext(source),)
    except StopAsyncIteration:
        return None
