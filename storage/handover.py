"""Passes a body from the task that reads it to an upload that pulls it."""

import asyncio
from collections.abc import AsyncIterator
from enum import Enum, auto


class Abandoned(Exception):
    """What the upload sees instead of the rest of the body; it then undoes what it has sent."""


class _Sign(Enum):
    END = auto()
    ABANDONED = auto()


class Handover(AsyncIterator[bytes]):
    """Holds at most one piece. obstore's upload cannot be cancelled cleanly: it would leave the body's task
    running and the parts it has sent in the bucket. Failing the body it pulls is what makes it clean up.
    """

    def __init__(self) -> None:
        self._slot: asyncio.Queue[bytes | _Sign] = asyncio.Queue(maxsize=1)

    async def give(self, piece: bytes) -> None:
        """Wait until the piece before was taken."""
        await self._slot.put(piece)

    async def end(self) -> None:
        """There is no more to come."""
        await self._slot.put(_Sign.END)

    def abandon(self) -> None:
        """The body will never be complete."""
        while not self._slot.empty():
            self._slot.get_nowait()
        self._slot.put_nowait(_Sign.ABANDONED)

    async def __anext__(self) -> bytes:
        match await self._slot.get():
            case _Sign.END:
                raise StopAsyncIteration
            case _Sign.ABANDONED:
                raise Abandoned
            case bytes(piece):
                return piece
