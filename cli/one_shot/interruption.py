"""Ctrl-C and SIGTERM for a command that works for long.

nothing came ──first, while announced──▶ asked ──second──▶ cancelled
     └───────first, otherwise──────────────────────────────────┘
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Cancels the work, but first asks where the work has said that it will listen."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._listening = False

    @contextmanager
    def of(self, work: "asyncio.Future[T]") -> Iterator[None]:
        """Takes the signals for as long as the block runs."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._came, work)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    @contextmanager
    def announced(self) -> Iterator[asyncio.Event]:
        """The event that is set instead of cancelling the work, the first time a signal comes."""
        self._listening = True
        try:
            yield self._asked
        finally:
            self._listening = False

    def _came(self, work: "asyncio.Future[T]") -> None:
        if self._listening and not self._asked.is_set():
            self._asked.set()
        else:
            work.cancel()
