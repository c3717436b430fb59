"""Who waits for room in the queue of its project, and what it is told: for each pass of the dispatcher.

The leader alone admits, and to hand out a batch's first lines is to admit it: the work board shows which
batches have begun, so neither two processes nor a change of leaders can let in more than there is room for.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from events.limits import ProjectLimits
from events.room import NO_ROOM, queue_of
from events.work import OpenBatch

TELL_AGAIN: Final = 1.0
"""Seconds for which a reason stands as it was told: its numbers change with every line."""


class Admission:
    """Reads the board's batches as the dispatcher does; asks the database nothing."""

    def __init__(self, limits: ProjectLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._told: dict[str, float] = {}

    def held_up(self, batches: Iterable[OpenBatch]) -> dict[str, str]:
        """Of all batches that could run now, those that may not begin yet, each with the reason."""
        projects = defaultdict[str, list[OpenBatch]](list)
        for batch in batches:
            if self._limits.of(batch.project_id).of_queue:
                projects[batch.project_id].append(batch)
        reasons: dict[str, str] = {}
        for project_id, queued in projects.items():
            why = queue_of(project_id, queued, self._limits.of(project_id)).reasons
            reasons |= {b.batch_id: self._telling(b, why[b.batch_id]) for b in queued if b.batch_id in why}
        self._told = {batch_id: when for batch_id, when in self._told.items() if batch_id in reasons}
        return reasons

    def _telling(self, batch: OpenBatch, reason: str) -> str:
        """What to say: the same as before, for a while."""
        now, told = self._clock(), self._told.get(batch.batch_id, float("-inf"))
        if batch.waiting is not None and batch.waiting.startswith(NO_ROOM) and now - told < TELL_AGAIN:
            return batch.waiting
        self._told[batch.batch_id] = now
        return reason
