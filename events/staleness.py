"""When a beat that does not change means death: a pure observer's rule.

Stale is what an observer saw unchanged for one whole lease during which its own reads succeeded. So after
an outage of the database nobody is stale yet: everybody's beat stood still, and so did every observer.
"""

import time
from collections.abc import Hashable
from typing import Generic, TypeVar

B = TypeVar("B", bound=Hashable)


def boot_time() -> float:
    """Seconds on a clock that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Watch(Generic[B]):
    """Watches one beat. `now` is any clock of the observer that goes on while it lives."""

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._beat: B | None = None
        self._since: float | None = None
        self._last: float | None = None

    def stale(self, beat: B, now: float) -> bool:
        """Whether this beat, just read, has been the same for a lease of uninterrupted watching.

        A pause between two reads longer than half a lease (the observer slept, or could not read) begins
        the watch anew.
        """
        paused = self._last is None or now - self._last > max(self._lease / 2, 1e-9)
        if paused or beat != self._beat or self._since is None:
            self._beat, self._since = beat, now
        self._last = now
        return now - self._since >= self._lease

    def forget(self) -> None:
        """A read failed: nothing is known of the time since the last one."""
        self._since = None
        self._beat = None
