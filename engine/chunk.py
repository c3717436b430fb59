"""A chunk in a worker's hands: its claim, its lines, and how many of them are not settled yet.

    taken ──every line settled──▶ settled
      │
      ├──hand back: lines not sent are dropped, those in flight go on──▶ settled
      ├──last call: the same, and what now comes back is final───────▶ settled
      └──lose: nothing more can be recorded; all lines are dropped─▶ settled

A line is settled when its outcome is recorded, or when it is dropped without one.
"""

import asyncio
import hashlib
import time
from uuid import UUID

from engine.routes import Tries
from events.work import Claim


class Job:
    """One line to run. `sent` is when its last send began, on the worker's clock."""

    __slots__ = ("attempts", "body", "chunk", "custom_id_json", "line", "sent", "tries")

    def __init__(self, chunk: "Chunk", line: int, custom_id_json: bytes, body: bytes) -> None:
        self.chunk = chunk
        self.line = line
        self.custom_id_json = custom_id_json
        self.body = body
        self.tries = Tries()
        self.attempts = 0
        self.sent = 0.0


class Chunk:
    """What a worker holds of a batch by one claim."""

    def __init__(
        self, claim: Claim, worker_id: str, path: str, deadline: float, traceparent: str | None = None
    ) -> None:
        """`path` is where its lines are posted, `deadline` when they are not tried any more, on the worker's
        clock, `traceparent` that of the request for the batch."""
        self.claim = claim
        self.worker_id = worker_id
        self.path = path
        self.deadline = deadline
        self.traceparent = traceparent
        self.began = time.monotonic()
        self.stopping = False
        self.last_call = False
        self.lost = False
        self.unsettled = len(claim.open_lines())
        self.waiting: set[asyncio.Task[None]] = set()
        self._flushes = 0
        self._settled = asyncio.Event()
        if not self.unsettled:
            self._settled.set()

    @property
    def batch_id(self) -> str:
        """The batch it is a part of."""
        return self.claim.batch_id

    def settle(self, lines: int) -> None:
        """So many lines more are recorded or dropped."""
        self.unsettled -= lines
        if self.unsettled <= 0:
            self._settled.set()

    async def settled(self) -> None:
        """Returns when no line is open any more."""
        await self._settled.wait()

    def stop(self, *, last_call: bool) -> None:
        """No line of it is sent from now on, and lines that wait for another try are dropped. At the last
        call, when no other worker will try them either, what comes back of those in flight is final."""
        self.stopping = True
        self.last_call = self.last_call or last_call
        for task in list(self.waiting):
            task.cancel()

    def lose(self) -> None:
        """The claim is void: nothing of it can be recorded any more."""
        self.lost = True
        self.stop(last_call=False)
        self._settled.set()

    def next_event_id(self) -> UUID:
        """The id of its next flush, from the claim's token and a number, so that a repeated one is known."""
        self._flushes += 1
        seed = self.claim.token.bytes + self._flushes.to_bytes(8, "big")
        return UUID(bytes=hashlib.sha256(seed).digest()[:16])
