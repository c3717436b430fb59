"""Follows one stream of the log from outside: what is there, then what is recorded, as it is recorded."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from events.bus import Notice
from events.event import RecordedEvent
from events.journal import Journal

PAGE: Final = 100
"""Most events held at once."""
POLL: Final = 1.0
"""Seconds between two looks when the bus says nothing."""


async def tail(
    journal: Journal, stream_id: str, *, after: int = 0, poll: float = POLL
) -> AsyncGenerator[Sequence[RecordedEvent], None]:
    """Events of a stream with a version over `after`, in order and without end, at most `PAGE` at once.

    The bus wakes it, and after `poll` seconds without a word it looks by itself; an empty page says that so
    much time has passed. Raises `DatabaseUnavailable`.
    """
    news = asyncio.Event()

    def wake(notices: Sequence[Notice]) -> None:
        if any(notice.stream_id == stream_id for notice in notices):
            news.set()

    forget = journal.bus.on_wake(wake)
    try:
        while True:
            news.clear()
            page = await journal.log.stream(stream_id, after=after, limit=PAGE)
            if page:
                after = page[-1].version
                yield page
            if len(page) < PAGE:
                try:
                    async with asyncio.timeout(poll):
                        await news.wait()
                except TimeoutError:
                    yield ()
    finally:
        forget()
