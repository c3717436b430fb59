"""Decide and record: the one way in which a command becomes events.

Reads the object, lets a pure decision make events of it, appends them on the version that was read, and
announces what was appended on the bus. A conflict means that the world moved: read again, decide again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from events.bus import Bus, Notice
from events.catalog import State
from events.errors import UnknownEvent, VersionConflict
from events.event import NewEvent
from events.failpoint import at
from events.log import Board, Leadership, Log, Row
from events.read_models import ReadModels, Seen

S = TypeVar("S", bound=State)
TRIES: Final = 20
"""Conflicts in a row before giving up: each means that another decision got through."""


class Decision(msgspec.Struct, frozen=True):
    """What to record in one transaction; without events nothing is done."""

    events: Sequence[NewEvent]
    rows: Sequence[Row] = ()
    board: Board | None = None
    expect: Mapping[str, int] = {}


class Journal:
    """Log, read models and bus together."""

    def __init__(self, log: Log, models: ReadModels, bus: Bus) -> None:
        self.log = log
        self.models = models
        self.bus = bus

    async def record(self, decision: Decision, leadership: Leadership | None = None) -> None:
        """Appends a decision and announces it. Raises as `Log.append`."""
        if not decision.events:
            return
        positions = await self.log.append(
            decision.events,
            expect=decision.expect,
            rows=decision.rows,
            board=decision.board,
            leadership=leadership,
        )
        await at("announce.before")
        await self.bus.announce(
            [
                Notice(event.stream_id, event.type, position)
                for event, position in zip(decision.events, positions, strict=True)
            ]
        )
        await at("announce.after")

    async def carry_out(
        self,
        kind: type[S],
        id: str,
        decide: Callable[[Seen[S]], Decision],
        *,
        project_id: str | None = None,
        leadership: Leadership | None = None,
        hidden: bool = False,
    ) -> Seen[S]:
        """Reads an object, decides on it, records the decision, and returns the object as it is then.

        The decision is made on the object's version unless it says otherwise; with `hidden`, hidden objects
        are decided on, too. Raises `NotFound`,
        `UnknownEvent` where the stream is parked, what `decide` raises, and as `Log.append`.
        """
        for _ in range(TRIES):
            seen = await self.models.get(kind, id, project_id, hidden=hidden)
            if seen.parked is not None:
                raise UnknownEvent(seen.parked)
            decision = decide(seen)
            if not decision.events:
                return seen
            expect = {id: seen.version, **decision.expect}
            try:
                await self.record(msgspec.structs.replace(decision, expect=expect), leadership)
            except VersionConflict as conflict:
                last = conflict
                continue
            after = await self.models.find(kind, id, project_id)
            return seen if after is None else after
        raise last

    async def settle(self, seen: Seen[S], decide: Callable[[Seen[S]], Decision]) -> None:
        """Decides on an object as it was read before, and records the decision; reads it again only where it
        has changed since. For who needs no answer; raises as `carry_out`."""
        if seen.parked is not None:
            raise UnknownEvent(seen.parked)
        decision = decide(seen)
        expect = {seen.id: seen.version, **decision.expect}
        try:
            await self.record(msgspec.structs.replace(decision, expect=expect))
        except VersionConflict:
            await self.carry_out(type(seen.state), seen.id, decide)
