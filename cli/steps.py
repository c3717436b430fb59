"""How far a long command is: a bar on a terminal, and in a pipe a line now and then.

folding ━━━━━━━━━━━━━━━━━━━━╸━━━━━━━━━━ 1,234,000 of 2,000,000 events
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

EVERY: Final = 5.0
"""Seconds between two lines in a pipe."""
Tell = Callable[[str, int, int], None]
"""Takes what is done, how many events of it, and of how many."""


@contextmanager
def steps(stream: TextIO, clock: Callable[[], float] = time.monotonic) -> Iterator[Tell]:
    """What to call after each step."""
    if not stream.isatty():
        yield _lines(stream, clock)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(file=stream)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, done="")
        yield lambda doing, done, of: bar.update(
            task, description=doing, completed=done, total=of or None, done=_counted(done, of)
        )


def _lines(stream: TextIO, clock: Callable[[], float]) -> Tell:
    told_at = clock()

    def tell(doing: str, done: int, of: int) -> None:
        nonlocal told_at
        if clock() - told_at >= EVERY:
            told_at = clock()
            print(f"{doing}: {_counted(done, of)}", file=stream, flush=True)

    return tell


def _counted(done: int, of: int) -> str:
    return f"{done:,} of {of:,} events"
