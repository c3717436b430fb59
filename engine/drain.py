"""How long whoever stops waits for what it has in hand."""

import asyncio
from collections.abc import Coroutine


class Drain:
    """So many seconds, until somebody hurries."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """Ends the wait, also one that is to come."""
        self._hurried.set()

    async def until(self, emptied: Coroutine[None, None, object]) -> None:
        """Returns when `emptied` does, or its time is over."""
        waits = [asyncio.create_task(wait) for wait in (emptied, self._hurried.wait())]
        try:
            await asyncio.wait(waits, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
