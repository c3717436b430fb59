"""How commands print what they found: a table for eyes on a terminal, aligned plain text in a pipe."""

import sys
from collections.abc import Sequence
from datetime import datetime


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One line for each row under the names of the columns."""
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(*columns, box=box.SIMPLE_HEAD, highlight=True)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """One line for each field that has a value: its name, its value."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        if value:
            print(f"{name.ljust(width)}  {value}")


def local_time(seconds: int | None) -> str:
    """Unix seconds as the reader's own date and time."""
    return datetime.fromtimestamp(seconds).isoformat(" ") if seconds is not None else ""
