"""A follower reads the log in order, handles what it reads, and keeps a checkpoint.

Projector, relay, webhooks and sealer are followers. The bus only wakes them; without it they poll. A
follower is run by one leader at a time, and its checkpoint moves only while that leadership holds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import structlog

from events.errors import UnknownEvent
from events.event import RecordedEvent
from events.log import Leadership, Log
from events.read_models import ModelWrite, ReadModels
from events.segments.shelf import SegmentDamaged
from storage.store import StorageError

_logger = structlog.get_logger()
Handle = Callable[[Sequence[RecordedEvent]], Awaitable[Sequence[ModelWrite]]]
BATCH: Final = 500
"""Most events handled together."""
REST: Final = 0.1
"""Seconds between two looks, and from a wake to its look: what is appended meanwhile is handled together, and
followers do not compete for the database with whoever moves a new batch on to its first line."""


class Follower:
    """`handle` gets events in order and returns the read-model rows to write with the checkpoint.

    It may be called again with events it has seen: after a crash the checkpoint is where it was.
    """

    def __init__(self, name: str, log: Log, models: ReadModels, handle: Handle, poll: float = 1.0) -> None:
        self.name = name
        self._log = log
        self._models = models
        self._handle = handle
        self._poll = poll
        self._woken = asyncio.Event()
        self.position = 0
        self._last: UUID | None = None
        """The event at this position, where it was handled here."""

    def wake(self) -> None:
        """Something was appended."""
        self._woken.set()

    async def run(self, leadership: Leadership) -> None:
        """Follows the log until cancelled. Raises what handling raises, and `LeadershipLost`; but before an
        `UnknownEvent` it waits for a program that knows more to lead, before old events that storage does not
        give, for these, and holds up nobody else."""
        self.position = await self._models.checkpoint(self.name)
        told: str | None = None
        while True:
            self._woken.clear()
            try:
                if await self.step(leadership):
                    await asyncio.sleep(REST)
                    continue
            except (UnknownEvent, SegmentDamaged, StorageError) as error:
                if str(error) != told:
                    told = str(error)
                    _logger.warning("follower waits", follower=self.name, after=self.position, reason=told)
            try:
                async with asyncio.timeout(self._poll):
                    await self._woken.wait()
                    await asyncio.sleep(REST)
            except TimeoutError:
                continue

    async def step(self, leadership: Leadership | None) -> bool:
        """Handles the next events; False where there were none.

        The last one handled is looked at again each time: where the log went back under a running program, it
        is followed from the checkpoint that went back with it.
        """
        events = await self._log.read(after=max(0, self.position - 1), limit=BATCH + 1)
        fresh = [event for event in events if event.position > self.position]
        if self.position and not self._follows(events) and await self._set_back():
            return True
        if not fresh:
            return False
        writes = await self._handle(fresh)
        await self._models.advance(writes, follower=self.name, upto=fresh[-1].position, leadership=leadership)
        self.position, self._last = fresh[-1].position, fresh[-1].event_id
        return True

    def _follows(self, events: Sequence[RecordedEvent]) -> bool:
        """Whether these begin with the event that was handled last."""
        if not events or events[0].position != self.position:
            return False
        return self._last in (None, events[0].event_id)

    async def _set_back(self) -> bool:
        """Whether the checkpoint is behind what was handled, and is gone on from."""
        kept = await self._models.checkpoint(self.name)
        if kept >= self.position:  # the event left the database, as old ones may
            return False
        _logger.warning("the log went back", follower=self.name, handled=self.position, goes_on_after=kept)
        self.position, self._last = kept, None
        return True
