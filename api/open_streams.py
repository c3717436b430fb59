"""Answers that go on until something ends: how many there are of each key, and that the server may stop."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from api.errors import ApiError

MOST_EACH: Final = 16
"""Open at once with one key, in one process."""


class OpenStreams:
    """Each is counted while it is open; all are to end once `ending` is set."""

    def __init__(self, most_each: int = MOST_EACH) -> None:
        self.ending = False
        """Whether the server stops: whoever sends an endless answer ends it within a second or so."""
        self._most_each = most_each
        self._open: Counter[str] = Counter()

    def require_room(self, key_id: str) -> None:
        """Raises the 429 where a key has as many open as it may."""
        if self._open[key_id] >= self._most_each:
            raise ApiError(
                429,
                f"Too many open event streams: {self._most_each} at once with one API key is the most. Close "
                "one of them, or ask for pages instead.",
                type="requests",
                code="rate_limit_exceeded",
                headers={"retry-after": "5"},
            )

    @contextmanager
    def one(self, key_id: str) -> Iterator[None]:
        """Counts one while the block runs."""
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]
