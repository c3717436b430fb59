"""Knows when the input of a batch is given up: nobody shall wait for ever for bytes that nobody has."""

import time
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 900.0
"""Seconds that an input may be away: somebody may be restoring the storage of files."""


class LostInputs:
    """Of one process, which tries again and again meanwhile. Holds an entry for each batch whose input is
    away."""

    def __init__(self, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._since: dict[str, float] = {}

    def given_up(self, batch_id: str) -> bool:
        """The input was not there: whether it has not been for too long."""
        now = self._clock()
        return now - self._since.setdefault(batch_id, now) >= self._patience

    def found(self, batch_id: str) -> None:
        """The input was there, or is not asked for any more."""
        self._since.pop(batch_id, None)
