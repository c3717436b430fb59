"""How commands print what they found: a table for eyes on a terminal, aligned plain text in a pipe.

Names and messages come from others: signs that would steer the terminal are shown as `�`.
"""

import sys
from collections.abc import Sequence
from datetime import datetime


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One line for each row under the names of the columns; the first column is never cut."""
    table = [[printable(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table

        drawn = Table(box=box.SIMPLE_HEAD)
        for place, (name, width) in enumerate(zip(columns, widths, strict=True)):
            drawn.add_column(name, min_width=None if place else width, overflow="fold")
        for row in table[1:]:
            drawn.add_row(*row)
        Console(markup=False, emoji=False).print(drawn)
        return
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """One line for each field that has a value: its name, its value."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        if value:
            print(f"{printable(name).ljust(width)}  {printable(value)}")


def printable(text: str) -> str:
    """The text without signs that move a cursor, change a colour or begin a new line."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def local_time(seconds: int | None) -> str:
    """Unix seconds as the reader's own date and time."""
    return datetime.fromtimestamp(seconds).isoformat(" ") if seconds is not None else ""
