"""How fast lines end, and how long the rest will take at that pace. Pure: times are the caller's."""

from collections import deque
from typing import Final

WINDOW: Final = 30.0
"""Seconds back that the pace is taken from: long enough to be calm, short enough to follow the upstream."""


class Pace:
    """Fed with how many lines have ended by when; lines that ended before it began do not count."""

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()

    def saw(self, now: float, done: int) -> None:
        """`done` lines have ended by `now`, in seconds of one monotonic clock."""
        self._seen.append((now, done))
        while now - self._seen[0][0] > self._window and len(self._seen) > 2:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Lines a second; 0 while that is not known."""
        if not self._seen:
            return 0.0
        (began, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - began) if now > began else 0.0

    def seconds_for(self, lines: int) -> float | None:
        """How long so many more lines take; None while nothing moves."""
        rate = self.rate
        return lines / rate if rate > 0 else None
