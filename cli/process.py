"""A process that works until it is told to stop: its event loop, and the signals that stop it."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")


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

    Takes the signals from now on; whoever has `begun` may begin it, too.
    """

    def __init__(self, begun: asyncio.Event | None = None) -> None:
        self._begun = begun or asyncio.Event()
        self._hurried = False
        self._hurries: list[Callable[[], None]] = []
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._begun.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)

    async def begun(self) -> None:
        """Returns when the process is to drain."""
        await self._begun.wait()

    def on_hurry(self, hurry: Callable[[], None]) -> None:
        """Has `hurry` called when what is draining is to end at once."""
        self._hurries.append(hurry)
        if self._hurried:
            hurry()

    def _interrupted(self) -> None:
        if not self._begun.is_set():
            self._begun.set()
            return
        self._hurried = True
        for hurry in self._hurries:
            hurry()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
