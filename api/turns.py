"""Who wants the same thing at the same moment takes turns, within one process.

What holds across processes is the log's: there a decision on an older version is a conflict. Turns keep twins
from doing long work twice, and a crowd from conflicting for so long that somebody gives up.
"""

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """A lock for each name, for as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def at(self, name: str) -> asyncio.Lock:
        """The lock of that name, to be entered: `async with turns.at(name)`."""
        return self._locks.setdefault(name, asyncio.Lock())
