"""Which batches of a project have room, and which wait for it: pure decisions over what is queued.

A batch takes room in the queue from its first line handed out until its last line has an outcome, or until it
is cancelled or its time is over. One that does not fit waits, and who came later waits behind it; so a large
batch is not passed by small ones for ever. What could never fit is refused when its input is validated.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from events.limits import Limits
from events.work import OpenBatch

NO_ROOM: Final = "waiting for room: "
"""What the reasons begin with of batches that wait in the queue of their project."""


class Room(msgspec.Struct, frozen=True):
    """What batches take of a queue."""

    lines: int = 0
    tokens: int = 0
    batches: int = 0

    def __add__(self, other: "Room") -> "Room":
        return Room(self.lines + other.lines, self.tokens + other.tokens, self.batches + other.batches)


class Queue(msgspec.Struct, frozen=True):
    """The queue of one project: the room that its batches take, also those that may begin now; the room that
    those want which wait; and why each of these waits, by its id."""

    used: Room
    wanted: Room
    reasons: Mapping[str, str]


def queue_of(project_id: str, batches: Iterable[OpenBatch], limits: Limits) -> Queue:
    """Decides who may begin, of all open batches of a project.

    What has begun goes on, whatever the limits are by now. The others begin in order of creation, as long as
    they fit; a queue that is empty takes any batch, so that one larger than a limit that was lowered since
    stops nobody for ever.
    """
    running = [batch for batch in batches if batch.phase == "running" and batch.expires_in > 0]
    used = sum((room_of(batch) for batch in running if batch.next_line), Room())
    wanted, reasons = Room(), dict[str, str]()
    for batch in sorted(running, key=lambda batch: (batch.created_at, batch.batch_id)):
        if batch.next_line:
            continue
        room = room_of(batch)
        lack = _lack(used + room, limits) if used.batches else None
        if lack is None and not reasons:
            used += room
            continue
        wanted += room
        why = "behind earlier batches of" if reasons else f"with it {lack} in"
        reasons[batch.batch_id] = f"{NO_ROOM}{why} project {project_id}"
    return Queue(used, wanted, reasons)


def room_of(batch: OpenBatch) -> Room:
    """What a running batch takes; nothing, when all its lines have outcomes."""
    lines = batch.lines_left
    return Room(lines, batch.tokens_left, 1) if lines else Room()


def _lack(taken: Room, limits: Limits) -> str | None:
    """The first limit that is exceeded where so much is taken, if one is."""
    for taking, most, what in (
        (taken.batches, limits.running_batches, "running batches"),
        (taken.lines, limits.queued_lines, "queued lines"),
        (taken.tokens, limits.queued_tokens, "queued tokens"),
    ):
        if most and taking > most:
            return f"{taking:,} of {most:,} {what}"
    return None
