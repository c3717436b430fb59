"""The bus: hints that something is to do. The log decides; a message lost, repeated, reordered or late
never changes a result.

Two transports keep this face and pass one suite: in-process (`events/buses/local_bus.py`) for the embedded
stack, RabbitMQ for pods.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec

LOOK: Final = "Look"
"""The type of a notice that tells of no event: whoever gets it looks whether the batch needs a hand."""
LEFT: Final = "Left"
"""The type of a notice that tells of no event: a worker took a part of a chunk, and the rest lies free."""


class Notice(msgspec.Struct, frozen=True):
    """Something new was appended to a stream, at a position. `type` is the event's, `LOOK` or
    `LEFT`."""

    stream_id: str
    type: str
    position: int


class Work(msgspec.Struct, frozen=True):
    """A chunk is waiting for a claim. A `suspect` is for a worker that holds no other claim. `lines` is how
    many it has, from `first_line` on; 0 where that is not said."""

    batch_id: str
    claim_id: int
    suspect: bool = False
    lines: int = 0
    first_line: int = 0


class Subscription(Protocol):
    """A running consumption."""

    async def cancel(self) -> None:
        """Stops taking messages; what is being handled goes on. Harmless when repeated."""
        ...


class Bus(Protocol):
    """At-most-once notices, at-least-once work; both bounded."""

    async def announce(self, notices: Sequence[Notice]) -> None:
        """Tells of appended events, right after their commit: one receiver of `take_notices` gets each,
        and every `on_wake` of every process is called. Never waits long and never raises for a bus that is
        down: what is lost is found in the log."""
        ...

    async def offer(self, route: str, work: Work) -> None:
        """Puts a chunk up for one worker of a route. Raises `BusUnavailable` when it cannot be placed in
        time; offering again is harmless."""
        ...

    async def take_notices(self, handle: Callable[[Notice], Awaitable[None]]) -> Subscription:
        """Competes for notices; one at a time per subscription. An error of `handle` drops the notice."""
        ...

    async def take_work(
        self, route: str, prefetch: int, handle: Callable[[Work], Awaitable[None]]
    ) -> Subscription:
        """Competes for the chunks of a route, at most `prefetch` in hand at once. A chunk is done with when
        `handle` returns; when it raises or is cancelled the chunk is offered again."""
        ...

    def on_wake(self, wake: Callable[[Sequence[Notice]], None]) -> Callable[[], None]:
        """Has `wake` called with every announcement anywhere; returns what undoes it."""
        ...

    async def close(self) -> None:
        """Stops every subscription and forgets what was not taken."""
        ...
