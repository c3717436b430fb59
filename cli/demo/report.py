"""What the demo tells, on a terminal or in a pipe."""

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from shutil import which
from typing import Final

import msgspec
from rich.console import Console
from rich.text import Text

from cli.batch_view import BatchView
from cli.demo.client import DemoFiles
from cli.practice.answers import MODEL
from cli.tables import printable
from events.history import Entry

SUCCEEDED_SHOWN: Final = 4
FAILED_SHOWN: Final = 1
LONGEST: Final = 52
"""Signs of an answer that are shown."""

Row = Sequence[str | Text]


class _Message(msgspec.Struct):
    content: str


class _Choice(msgspec.Struct):
    message: _Message


class _Refused(msgspec.Struct):
    message: str


class _Body(msgspec.Struct):
    choices: list[_Choice] = []
    error: _Refused | None = None

    @property
    def said(self) -> str:
        return self.error.message if self.error is not None else self.choices[0].message.content


class _Response(msgspec.Struct):
    status_code: int
    body: _Body


class _Result(msgspec.Struct):
    custom_id: str
    response: _Response


class Report:
    """Tells one step after the other."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def begin(self, upstream: str, latency: float, error_rate: float, throttle_rate: float) -> None:
        """What is about to happen, and what answers."""
        self._console.print("Batchmill demo: all in this process, and nothing outside it.\n")
        self.step(
            f"practice upstream at {upstream}: {latency * 1000:.0f} ms an answer, of which {error_rate:.1%} "
            f"are a 500 and {throttle_rate:.1%} a 429"
        )

    def step(self, text: str) -> None:
        """Something that is done."""
        self._console.print(Text.assemble(("✓ ", "green"), printable(text)))

    def results(self, files: DemoFiles) -> None:
        """The first lines of both result files."""
        self._title("First results")
        rows: list[Row] = []
        for path, shown, style in (
            (files.output, SUCCEEDED_SHOWN, "green"),
            (files.errors, FAILED_SHOWN, "red"),
        ):
            for result in _first(path, shown):
                said = printable(result.response.body.said)
                said = said if len(said) <= LONGEST else said[: LONGEST - 1] + "…"
                rows.append(
                    (printable(result.custom_id), Text(str(result.response.status_code), style), said)
                )
        self._table(rows)

    def figures(self, batch: BatchView, history: Sequence[Entry]) -> None:
        """Counts, tokens and pace."""
        at = {entry.name: entry for entry in history}
        seconds = (at["finalizing"].began - at["validated"].began).total_seconds()
        counts = batch.counts
        self._title("Figures")
        self._table(
            [
                ("lines", f"{counts.completed:,} succeeded, {counts.failed:,} failed"),
                ("tokens", batch.tokens),
                ("pace", f"{counts.total / seconds:,.0f} lines/s; the upstream ran in the same process"),
            ]
        )

    def time_line(self, history: Sequence[Entry]) -> None:
        """What the log says of the batch."""
        self._title("What the log says of the batch")
        began = history[0].began
        self._table(
            [
                (
                    f"{entry.began.astimezone():%H:%M:%S.%f}"[:-3],
                    f"+{(entry.began - began).total_seconds():.3f} s",
                    entry.name.replace("_", " "),
                    Text(entry.text, "dim"),
                )
                for entry in history
            ]
        )

    def places(self, folder: Path, files: DemoFiles, *, kept: bool) -> None:
        """Where the files are, and for how long."""
        self._title("Files")
        self._lines(
            *(str(path) for path in (files.requests, files.output, files.errors)),
            f"{folder / 'postgres'} holds the log, {folder / 'files'} the stored files.",
        )
        if not kept:
            self._lines("All of it goes when the demo ends; --data-dir FOLDER keeps it.")

    def own_use(self, url: str, key: str, *, stays: bool) -> None:
        """How to go on with one's own program and upstream."""
        program = "batchmill" if which("batchmill") else sys.argv[0]
        if stays:
            self._title(f"To try: your own program with the SDK, and {MODEL!r} as its model")
            self._lines(f"export OPENAI_BASE_URL={url}", f"export OPENAI_API_KEY={key}")
            self._title("Or the command line")
            self._lines(
                f"export BATCHMILL_URL={url}", f"export BATCHMILL_API_KEY={key}", f"{program} batches list"
            )
        self._title("Your own upstream")
        self._lines(
            f"{program} serve --upstream http://127.0.0.1:8000/v1   # prints a key, once",
            "export OPENAI_BASE_URL=http://127.0.0.1:8080/v1",
            "export OPENAI_API_KEY=<that key>",
        )
        self._title("Or without a server, one file to another")
        self._lines(f"{program} run in.jsonl out.jsonl --upstream http://127.0.0.1:8000/v1")
        if stays:
            self._console.print("\nThe server stays up. Ctrl-C ends it.", style="bold")

    def _lines(self, *lines: str) -> None:
        for line in lines:
            self._console.print(f"  {line}")

    def _table(self, rows: Sequence[Row]) -> None:
        widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
        for row in rows:
            line = Text("  ")
            for cell, width in zip(row, widths, strict=True):
                line.append(cell).append(" " * (width - len(cell) + 2))
            line.rstrip()
            self._console.print(line)

    def _title(self, text: str) -> None:
        self._console.print(f"\n{text}", style="bold")


def _first(path: Path, count: int) -> list[_Result]:
    if not path.exists():
        return []
    with path.open("rb") as lines:
        return [msgspec.json.decode(line, type=_Result) for line in islice(lines, count)]
