"""Names what happened to segments, in which old events of the log lie in storage."""

from collections.abc import Iterator, Sequence

import msgspec

from events.audit.defect import Defect, Kind
from events.audit.naming import Around


class SegmentFault(msgspec.Struct, frozen=True):
    """A segment that is not what was put into storage: `found` is the digest of what is there (hex; None:
    nothing is), `of` the first position of the segment whose digest that is, where there is one. Of `events`
    nothing is known, then."""

    first: int
    last: int
    events: int
    name: str
    expected: str
    found: str | None
    of: int | None = None


def name_segments(faults: Sequence[SegmentFault], near: Around) -> Iterator[Defect]:
    """One defect for each; two that have changed places are one."""
    by_first = {fault.first: fault for fault in faults}
    paired: set[int] = set()
    for fault in faults:
        if fault.first in paired:
            continue
        kind: Kind
        if fault.found is None:
            kind, how = "segment_deleted", "was deleted"
        elif fault.of is not None and fault.of != fault.first:
            kind, how = "segment_swapped", f"was swapped: it is the one that begins at position {fault.of}"
            other = by_first.get(fault.of)
            if other is not None and other.of == fault.first:
                paired.add(other.first)
        else:
            kind, how = "segment_changed", "was changed: it is not what was put there"
        after, before = near(fault.first)
        yield Defect(
            kind,
            f"the segment {fault.first} to {fault.last} of the log, of {fault.events} events in storage, "
            f"{how}; take it from a backup of the storage",
            position=fault.first,
            upto=fault.last,
            key=fault.name,
            expected=fault.expected,
            found=fault.found,
            after=after,
            before=before,
        )
