"""How often a project may ask: a bucket of tokens for each project and limit, refilled all the time.

A bucket holds as many as the limit lets pass in its window, is full at first, and is as full again after a
window in which nothing was asked. So in any `t` seconds at most `most * (1 + t / seconds)` pass: in the long
run no more than the limit, but in one window that follows a pause up to twice the limit.

Each process counts for itself: of `n` processes behind a balancer a project gets up to `n` times the limit.
There are as many buckets as projects that have keys, and their state is two numbers.
"""

import math
import time
from collections.abc import Callable
from typing import Final

import msgspec

from api.errors import ApiError

LIMITED: Final = "requests"
"""The error's type; the other one, `tokens`, is never sent: what has no room for its tokens waits."""
CODE: Final = "rate_limit_exceeded"


class Limit(msgspec.Struct, frozen=True):
    """`most` of something at once, and as many again in `seconds`, of each project; 0: any number."""

    what: str
    per: str
    seconds: float
    most: int


class Standing(msgspec.Struct, frozen=True):
    """How a project stands after it took one: what is left, and seconds until all of it is back. `wait` is
    how many seconds it must wait before it can have this one; 0: it has it."""

    left: int
    reset: float
    wait: float = 0.0


class _Bucket(msgspec.Struct):
    tokens: float
    at: float


class Rates:
    """Every bucket of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, limit: Limit, project_id: str) -> Standing:
        """Takes one from the bucket of a project, if there is one in it."""
        bucket, pace = self._filled(limit, project_id), limit.most / limit.seconds
        wait = 0.0 if bucket.tokens >= 1 else (1 - bucket.tokens) / pace
        if not wait:
            bucket.tokens -= 1
        return Standing(int(bucket.tokens), (limit.most - bucket.tokens) / pace, wait)

    def left(self, limit: Limit, project_id: str) -> int:
        """What is in the bucket of a project."""
        return int(self._filled(limit, project_id).tokens)

    def _filled(self, limit: Limit, project_id: str) -> _Bucket:
        """The bucket as it is now."""
        now = self._clock()
        bucket = self._buckets.setdefault((limit.what, project_id), _Bucket(limit.most, now))
        flowed = (now - bucket.at) * limit.most / limit.seconds
        bucket.tokens, bucket.at = min(limit.most, bucket.tokens + flowed), now
        return bucket


def too_often(limit: Limit, standing: Standing, project_id: str) -> ApiError:
    """The refusal of one that must wait."""
    return ApiError(
        429,
        f"Rate limit reached for {limit.what} in project {project_id} on {limit.what} per {limit.per}: "
        f"Limit {limit.most}. Please try again in {duration(standing.wait)}.",
        type=LIMITED,
        code=CODE,
        headers={
            "retry-after": str(math.ceil(standing.wait)),
            "retry-after-ms": str(math.ceil(standing.wait * 1000)),
        },
    )


def rate_headers(limit: Limit, standing: Standing) -> list[tuple[bytes, bytes]]:
    """The headers by which a client can see what it has left."""
    return [
        (f"x-ratelimit-{name}-{limit.what}".encode(), value.encode())
        for name, value in (
            ("limit", str(limit.most)),
            ("remaining", str(standing.left)),
            ("reset", duration(standing.reset)),
        )
    ]


def duration(seconds: float) -> str:
    """As the API writes one: `12ms`, `8.64s`, `6m0s`; never less than it is."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{math.ceil(seconds * 100) / 100:g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + f"{minutes}m{rest}s"
