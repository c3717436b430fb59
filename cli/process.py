"""A process that works until it is told to stop: its event loop, and the signals that stop it."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Final, Self, TypeVar

from events.errors import BatchmillError

T = TypeVar("T")
CUT_AGAIN: Final = 5.0
"""Seconds after which a start that was cut is cut again where it still waits: a database that stands still
answers no goodbye."""


def run_loop(main: Coroutine[None, None, T]) -> T:
    """Runs a coroutine on the fast event loop; the failures of its tasks come out as single errors."""
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)
    except BaseExceptionGroup as group:
        raise _first(group) from group


class Ending:
    """How a process is told to end: by SIGTERM or SIGINT to drain, by a SIGINT after that to hurry.

    Takes the signals until its block is left. Until `started` there is nothing to drain: the block is cut
    where it waits, and left without an error. Whoever gives `begun` may begin the end, too, and waits for the
    start.
    """

    def __init__(self, begun: asyncio.Event | None = None) -> None:
        self._starting = asyncio.current_task() if begun is None else None
        self._begun = begun or asyncio.Event()
        self._hurried = False
        self._hurries: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()
        self._before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        self._loop.add_signal_handler(signal.SIGTERM, self._told)
        self._loop.add_signal_handler(signal.SIGINT, self._interrupted)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        cut = self._starting is not None and self._begun.is_set()
        self._starting = None
        for number, handler in self._before.items():
            self._loop.remove_signal_handler(number)
            signal.signal(number, handler)
        return cut and isinstance(error, asyncio.CancelledError | BatchmillError)

    def started(self) -> None:
        """From here on the end is a drain."""
        self._starting = None

    async def begun(self) -> None:
        """Returns when the process is to drain."""
        await self._begun.wait()

    def on_hurry(self, hurry: Callable[[], None]) -> None:
        """Has `hurry` called when what is draining is to end at once."""
        self._hurries.append(hurry)
        if self._hurried:
            hurry()

    def _told(self) -> None:
        if not self._begun.is_set():
            self._begun.set()
            self._cut()

    def _cut(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            self._loop.call_later(CUT_AGAIN, self._cut)

    def _interrupted(self) -> None:
        if not self._begun.is_set():
            self._told()
            return
        self._hurried = True
        for hurry in self._hurries:
            hurry()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
