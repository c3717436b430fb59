"""A process that works until it is told to stop: its event loop, and the signals that stop it."""

import asyncio
import signal
from collections.abc import Coroutine
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


def stop_by_signals(stopping: asyncio.Event) -> asyncio.Event:
    """The event, which SIGTERM and SIGINT set from now on."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
