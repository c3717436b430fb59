"""Following a batch to its end: a bar on a terminal, one line for each change in a pipe.

The server may go away and come back while a batch runs, so an outage shorter than the patience is waited out.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from cli.batch_view import BatchView
from cli.exit_codes import ExitCode, ServerUnreachable
from cli.remote.client import Server, decode
from cli.tables import printable

PATIENCE = 60.0
"""Seconds without any answer after which the watch gives up."""

Show = Callable[[BatchView, bytes], None]


class Patience:
    """Bears a server that does not answer, for so many `seconds` in a row."""

    def __init__(self, seconds: float = PATIENCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._answered = clock()

    def answered(self) -> None:
        """The server was there."""
        self._answered = self._clock()

    def bear(self, error: ServerUnreachable) -> None:
        """Says that it was not. Raises the error when that has lasted too long."""
        if self._clock() - self._answered >= self._seconds:
            raise error
        print(f"batchmill: {error}; trying again", file=sys.stderr)


def watch_to_the_end(
    server: Server,
    batch_id: str,
    show: Show,
    *,
    interval: float,
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> BatchView:
    """Ask every `interval` seconds and `show` what came, until the batch has ended.

    Raises ServerUnreachable after `patience` seconds without an answer, NotFound for an unknown batch.
    """
    bearing = Patience(patience, clock)
    while True:
        try:
            content = server.get("batches", batch_id)
        except ServerUnreachable as error:
            bearing.bear(error)
        else:
            bearing.answered()
            batch = decode(content, BatchView)
            show(batch, content)
            if batch.ended:
                return batch
        sleep(interval)


def exit_code_for(batch: BatchView) -> ExitCode:
    """OK for a completed batch, also when lines of it failed; FAILED for any other end."""
    return ExitCode.OK if batch.status == "completed" else ExitCode.FAILED


@contextmanager
def display(*, json: bool) -> Iterator[Show]:
    """What `watch` prints to: JSON lines, a bar on a terminal, or one line for each change."""
    if json:
        yield _changes(lambda _, content: msgspec.json.format(content, indent=0).decode())
    elif sys.stdout.isatty():
        with _bar() as show:
            yield show
    else:
        yield _changes(lambda batch, _: printable(f"{batch.id}  {batch.sentence()}"))


def _changes(write: Callable[[BatchView, bytes], str]) -> Show:
    """Print what `write` makes of the batch whenever it differs from what was printed last."""
    last = ""

    def show(batch: BatchView, content: bytes) -> None:
        nonlocal last
        line = write(batch, content)
        if line != last:
            print(line, flush=True)
            last = line

    return show


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="yellow", markup=False),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("asking", total=None, note="")

        def show(batch: BatchView, _: bytes) -> None:
            counts = batch.counts
            failed = f"{counts.failed:,} failed" if counts.failed else ""
            progress.update(
                task,
                description=batch.status,
                total=counts.total or None,
                completed=counts.completed + counts.failed,
                note=printable("; ".join(filter(None, (failed, batch.waiting_for)))),
            )

        yield show
