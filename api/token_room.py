"""How many more tokens a project may have queued, as the headers of every answer say it."""

import time
from collections.abc import Callable
from typing import Final

from api.rates import Limit, Standing
from events.limits import Limits
from events.room import queue_of
from events.work import WorkBoard

LOOK_AGAIN: Final = 1.0
"""Seconds for which what was seen of a project holds: headers are no reason to ask at every request."""


class TokenRoom:
    """What this process has seen of each project that has such a limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, Standing]] = {}

    async def standing(self, board: WorkBoard, limits: Limits, project_id: str) -> Standing:
        """What is left, and in how many seconds at the latest all is back: when the time of the last batch is
        over that takes room. At most a second old."""
        when, standing = self._seen.get(project_id, (float("-inf"), Standing(0, 0.0)))
        if self._clock() - when >= LOOK_AGAIN:
            batches = await board.open_batches_of(project_id)
            queue = queue_of(project_id, batches, limits)
            ends = [b.expires_in for b in batches if b.phase == "running" and b.batch_id not in queue.reasons]
            left = max(0, limits.queued_tokens - queue.used.tokens)
            standing = Standing(left, max(0.0, *ends) if ends else 0.0)
            self._seen[project_id] = (self._clock(), standing)
        return standing


def token_limit(limits: Limits) -> Limit:
    """The limit as the headers name it."""
    return Limit("tokens", "queue", float("inf"), limits.queued_tokens)
