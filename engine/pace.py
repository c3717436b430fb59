"""How many lines a worker takes in hand: as many as its slots run, and what they take while another chunk is
claimed.

What is in hand here runs nowhere else. With lines of a millisecond a claim takes as long as hundreds of them;
with lines of a minute a queue would keep the end of a batch waiting beside idle workers. So near the end of a
batch, where chunks are smaller than a worker has slots, a worker takes what it can send at once, and the rest
of the chunk is for the others.
"""

from typing import Final

CLAIM: Final = 0.05
"""Seconds that a claim and the reading of its first lines take on a busy system."""
MOST: Final = 8
"""Lines queued for each slot at most, however short they are: where they are as short as that, a claim costs
more than sharing the end of a batch gains."""
LONG: Final = 10 * CLAIM
"""Seconds from which on a slot may stand idle for a claim: nothing is queued."""
WEIGHT: Final = 1 / 16
"""Of the newest send in the mean."""


class Pace:
    """Pure: fed with what each send took."""

    def __init__(self, slots: int) -> None:
        self.ahead = 0
        """Lines to keep queued, at most `MOST` for each slot; none while nothing is known."""
        self._slots = slots
        self._mean: float | None = None

    def took(self, seconds: float) -> None:
        """A send ended after so long."""
        mean = seconds if self._mean is None else self._mean + WEIGHT * (seconds - self._mean)
        self._mean = mean
        if mean * MOST <= CLAIM:
            self.ahead = MOST * self._slots
        else:
            self.ahead = round(self._slots * CLAIM / mean) if mean < LONG else 0

    def part(self, lines: int, free: int) -> int:
        """How many to take of a chunk of so many lines, with so many slots free; negative: as many lines are
        queued."""
        if lines < self._slots and self.ahead < MOST * self._slots:
            return max(0, min(lines, free))
        return lines if free + self.ahead > 0 else 0
