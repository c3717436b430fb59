"""How many lines a lane keeps queued: as many as its slots take while another chunk is claimed, and no more.

What is queued here runs nowhere else. With lines of a millisecond a claim takes as long as hundreds of them;
with lines of a minute a long queue would keep the end of a batch waiting beside idle workers.
"""

from typing import Final

CLAIM: Final = 0.05
"""Seconds that a claim and the reading of its first lines take on a busy system."""
MOST: Final = 8
"""Lines queued for each slot at most, however short they are."""
WEIGHT: Final = 1 / 16
"""Of the newest send in the mean."""


class Pace:
    """Pure: fed with what each send took."""

    def __init__(self, slots: int) -> None:
        self.ahead = slots
        """Lines to keep queued, between 1 and `MOST` for each slot; one for each while nothing is known."""
        self._slots = slots
        self._mean: float | None = None

    def took(self, seconds: float) -> None:
        """A send ended after so long."""
        mean = seconds if self._mean is None else self._mean + WEIGHT * (seconds - self._mean)
        self._mean = mean
        if mean * MOST <= CLAIM:
            self.ahead = MOST * self._slots
        else:
            self.ahead = max(1, round(self._slots * CLAIM / mean))
