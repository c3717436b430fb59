"""Bodies to put: as they come from a client, in chunks of one size or another."""

import asyncio
from collections.abc import AsyncIterator


class ClientGone(Exception):
    """What a body raises when the one who sends it is gone."""


async def body_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def repeated(chunk: bytes, times: int) -> AsyncIterator[bytes]:
    for _ in range(times):
        yield chunk


async def broken_after(chunk: bytes, times: int) -> AsyncIterator[bytes]:
    for _ in range(times):
        yield chunk
    raise ClientGone


class Stalled(AsyncIterator[bytes]):
    """Gives `chunk` so many times and then nothing more; `reached` is set once it was asked for more."""

    def __init__(self, chunk: bytes, times: int) -> None:
        self._chunk = chunk
        self._left = times
        self.reached = asyncio.Event()

    async def __anext__(self) -> bytes:
        if self._left:
            self._left -= 1
            return self._chunk
        self.reached.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")
