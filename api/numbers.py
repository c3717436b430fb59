"""Numbers that come as text: in a query, a form or a header."""

from typing import Final

DIGITS: Final = 1000
"""A longer number is none: it would only cost time."""


def whole_number(text: str) -> int | None:
    """The integer that decimal digits say, with a minus or without; None: they say none."""
    digits = text.removeprefix("-")
    fits = digits.isascii() and digits.isdecimal() and len(digits) <= DIGITS
    return int(text) if fits else None
