"""Progress of one batch: a bar on a terminal, and in a pipe a line now and then.

running ━━━━━━━━━━━━━━━━━━━━╸━━━━━━━━━━ 1,234 of 2,000
612 lines/s · 1s left · 3 failed · 24,680 tokens in, 37,020 out
route paused: connection refused by http://127.0.0.1:8000/v1
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from cli.batch_view import BatchView
from cli.pace import Pace
from cli.tables import printable

EVERY: Final = 5.0
"""Seconds between two lines in a pipe while nothing but the counts changes."""

Show = Callable[[BatchView], None]


@contextmanager
def progress(
    stream: TextIO, *, every: float = EVERY, clock: Callable[[], float] = time.monotonic
) -> Iterator[Show]:
    """What to call with the batch each time it was looked at."""
    if not stream.isatty():
        yield _lines(stream, every, clock)
        return
    with _bar(stream, clock) as show:
        yield show


def pace_sentence(batch: BatchView, pace: Pace) -> str:
    """Such as `612 lines/s · 2m 5s left · 3 failed · 24,680 tokens in, 37,020 out`."""
    counts = batch.counts
    left = counts.total - counts.completed - counts.failed
    seconds = pace.seconds_for(left) if left else None
    parts = [
        f"{pace.rate:,.0f} lines/s" if pace.rate >= 10 else f"{pace.rate:.1f} lines/s" if pace.rate else "",
        f"{duration(seconds)} left" if seconds is not None else "",
        f"{counts.failed:,} failed" if counts.failed else "",
        f"{batch.tokens.replace(' in,', ' tokens in,')}" if batch.tokens else "",
    ]
    return " · ".join(filter(None, parts))


def duration(seconds: float) -> str:
    """Such as `9s`, `2m 5s`, `3h 20m`, `2d 4h`."""
    whole = max(1, round(seconds))
    for size, big, small_size, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size}{big} {rest}{small}" if rest else f"{whole // size}{big}"
    return f"{whole}s"


def _watch(pace: Pace, batch: BatchView, now: float) -> None:
    """Before there is a batch nobody knows how many of its lines an earlier run has done."""
    if batch.id:
        pace.saw(now, batch.counts.completed + batch.counts.failed)


def _lines(stream: TextIO, every: float, clock: Callable[[], float]) -> Show:
    pace = Pace()
    told: tuple[str, str] | None = None
    told_at = float("-inf")
    last = ""

    def show(batch: BatchView) -> None:
        nonlocal told, told_at, last
        now = clock()
        counts = batch.counts
        _watch(pace, batch, now)
        state = (batch.status, batch.waiting_for)
        if state == told and now - told_at < every:
            return
        done = f"{counts.completed + counts.failed:,} of {counts.total:,}" if counts.total else ""
        line = "; ".join(filter(None, (batch.status, done, pace_sentence(batch, pace), batch.waiting_for)))
        if line != last:
            print(printable(line), file=stream, flush=True)
            told, told_at, last = state, now, line

    return show


@contextmanager
def _bar(stream: TextIO, clock: Callable[[], float]) -> Iterator[Show]:
    """The bar begins with the first look, so that what is printed before stands above it."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.text import Text

    bar = Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"))
    task = bar.add_task("", total=None, done="")
    pace = Pace()
    live = Live(bar, console=Console(file=stream), refresh_per_second=8)

    def show(batch: BatchView) -> None:
        counts = batch.counts
        ended = counts.completed + counts.failed
        _watch(pace, batch, clock())
        bar.update(
            task,
            description=printable(batch.status),
            total=counts.total or None,
            completed=ended,
            done=f"{ended:,} of {counts.total:,}" if counts.total else "",
        )
        notes = (
            Text(pace_sentence(batch, pace), style="dim", no_wrap=True, overflow="ellipsis"),
            Text(printable(batch.waiting_for), style="yellow"),
        )
        live.update(Group(bar, *filter(None, notes)))
        live.start()

    try:
        yield show
    finally:
        live.stop()
