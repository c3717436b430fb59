"""Knows when the input of a batch is given up: nobody shall wait for ever for bytes that nobody has."""

import time
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 900.0
"""Seconds that an input may be away: somebody may be restoring the storage of files."""


class LostInputs:
    """Of one process, which tries again and again meanwhile. Holds an entry for each batch whose input was
    away within its patience: those that end in another process are let go."""

    def __init__(self, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._away: dict[str, tuple[float, float]] = {}
        """Since when, and when that was seen last: in the order of the latter."""

    def given_up(self, batch_id: str) -> bool:
        """The input was not there: whether it has not been for too long. What was not looked at for as long
        may have been there in between, for another process."""
        now = self._clock()
        while self._away:
            longest, (_, seen) = next(iter(self._away.items()))
            if now - seen <= self._patience:
                break
            del self._away[longest]
        since, _ = self._away.pop(batch_id, (now, now))
        self._away[batch_id] = since, now
        return now - since >= self._patience

    @property
    def known(self) -> int:
        """Of how many batches there is an entry."""
        return len(self._away)

    def found(self, batch_id: str) -> None:
        """The input was there, or is not asked for any more."""
        self._away.pop(batch_id, None)
