"""When a message that was not taken is sent again: the schedule that Standard Webhooks recommends."""

from typing import Final

WAITS: Final = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds between an attempt and the next: ten attempts over three days and a few hours."""
SPREAD: Final = 0.2
"""Share of a wait by which it may be longer, so that what failed together is not tried again together."""


LONGEST_ASKED: Final = 86_400.0
"""Seconds that a receiver can put the next attempt off."""


def wait_before_next(attempts: int, chance: float) -> float | None:
    """Seconds until the next attempt when `attempts` (at least 1) have failed; None: it is given up.

    `chance` is a random number from 0 to below 1.
    """
    if attempts > len(WAITS):
        return None
    return WAITS[attempts - 1] * (1 + SPREAD * chance)


def no_sooner(wait: float, asked: float | None) -> float:
    """The wait that the schedule says, or a longer one that the receiver asked for, within bounds."""
    return max(wait, min(asked or 0.0, LONGEST_ASKED))
