"""Completion windows: which an operator offers, and whether what a client asks for is among them.

A window is a whole number and `s`, `m`, `h` or `d`: `24h`. An offer is a window, which must be asked for as
it is written, or two of them, which stand for every window from the first to the second: `1h-7d`.
"""

import re
from typing import Final

LONGEST: Final = 30 * 86_400
"""Seconds of the longest window."""
_WINDOW: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def window_seconds(window: str) -> int | None:
    """How long a window is; None for a text that is none, or one that is too long."""
    match = _WINDOW.fullmatch(window)
    if match is None:
        return None
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]]
    return seconds if seconds <= LONGEST else None


def is_offer(text: str) -> bool:
    """Whether an operator may write this."""
    return _bounds(text) is not None


def offered(window: str, offers: tuple[str, ...]) -> bool:
    """Whether a window that a client asks for is among the offers."""
    seconds = window_seconds(window)
    if seconds is None or window in offers:
        return seconds is not None
    ranges = (_bounds(offer) for offer in offers if "-" in offer)
    return any(bounds is not None and bounds[0] <= seconds <= bounds[1] for bounds in ranges)


def _bounds(offer: str) -> tuple[int, int] | None:
    """The shortest and the longest window of an offer, in seconds; None for what is no offer."""
    first, dash, last = offer.partition("-")
    least, most = window_seconds(first), window_seconds(last if dash else first)
    if least is None or most is None or (dash and least >= most):
        return None
    return least, most
