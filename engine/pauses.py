"""When what has failed is tried again: soon at first, and later the longer it goes on failing."""

import time
from collections.abc import Callable


class Pauses:
    """Of one process, in seconds, doubling from `first` to `longest`. What nobody has come back to for as
    long after its pause is let go: others may have done it."""

    def __init__(self, first: float, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._longest = longest
        self._clock = clock
        self._kept: dict[str, tuple[float, float]] = {}
        """Until when each lasts, and how long it is."""

    def over(self, id: str) -> bool:
        """Whether it may be tried now."""
        until, _ = self._kept.get(id, (0.0, 0.0))
        return self._clock() >= until

    def begin(self, id: str) -> float:
        """It has failed: for how long it rests now."""
        now = self._clock()
        self._kept = {
            one: (until, pause) for one, (until, pause) in self._kept.items() if now - until <= self._longest
        }
        _, last = self._kept.get(id, (0.0, 0.0))
        pause = min(2 * last, self._longest) or self._first
        self._kept[id] = now + pause, pause
        return pause

    def end(self, id: str) -> None:
        """It has succeeded."""
        self._kept.pop(id, None)

    @property
    def kept(self) -> int:
        """How many there are."""
        return len(self._kept)
