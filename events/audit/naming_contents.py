"""Names what happened to attachments and files from the digests that they do not have."""

from collections.abc import Iterator, Sequence, Set
from typing import Literal

import msgspec

from events.audit.defect import Defect, Kind
from events.audit.naming import Around


class Fault(msgspec.Struct, frozen=True):
    """A body that is not what the event at `position` has recorded: `found` is its digest (hex; None: there
    is no body). `of` is the position of the event that has recorded what was found, where that is known;
    `there` is the place, of no event, at which the body was found instead."""

    what: Literal["attachment", "file", "part"]
    key: str
    position: int
    stream: str
    version: int
    expected: str
    found: str | None
    of: int | None = None
    there: str | None = None


class Doubt(msgspec.Struct, frozen=True):
    """A file of results that is not what the attachments of its batch give, where nothing else is wrong."""

    batch: str
    file: str | None
    position: int
    told: str


def name_contents(
    faults: Sequence[Fault],
    doubts: Sequence[Doubt],
    events: Sequence[Defect],
    odd: Set[str],
    gone: int,
    near: Around,
) -> Iterator[Defect]:
    """The defects of bodies. What hangs on an event that is itself not what was sealed, or on another body
    that is not, is no defect of its own: `events` are those of events, `odd` the streams that lack some.
    What is missing may be so by right where a later event is gone, at `gone` the last of them."""
    wrong = {
        position for defect in events for position in (defect.position, defect.upto) if position is not None
    }
    touched = {defect.stream for defect in events} | odd
    touched |= {fault.stream for fault in faults} | {fault.key for fault in faults}
    faults = [
        fault
        for fault in faults
        if fault.position not in wrong and (fault.found is not None or fault.position > gone)
    ]
    by_expected = {(fault.what, fault.expected): fault for fault in faults}
    paired: set[str] = set()
    for fault in faults:
        if fault.key in paired:
            continue
        other: Fault | None = None
        if fault.found is not None and fault.there is None:
            other = by_expected.get((fault.what, fault.found))
        if other is not None:
            paired.add(other.key)
        yield _named(fault, other, near)
    for doubt in doubts:
        if doubt.batch not in touched and doubt.file not in touched:
            after, before = near(doubt.position)
            yield Defect(
                "results_differ",
                doubt.told,
                position=doubt.position,
                stream=doubt.batch,
                key=doubt.file,
                after=after,
                before=before,
            )


def _named(fault: Fault, other: Fault | None, near: Around) -> Defect:
    kind: Kind
    whose = f"{fault.key}, which the event at position {fault.position} has recorded,"
    if fault.found is None:
        kind = "attachment_deleted" if fault.what == "attachment" else "file_deleted"
        told = f"the {fault.what} {whose} was deleted"
    elif fault.there is not None:
        kind = "attachment_swapped"
        told = f"the {fault.what} {whose} was moved: it stands at {fault.there}, which is no event's"
    elif other is not None or fault.of is not None:
        kind = "attachment_swapped" if fault.what == "attachment" else "file_swapped"
        source = other.key if other is not None else f"the event at position {fault.of}"
        told = f"the {fault.what} {whose} was swapped: it is that of {source}"
    else:
        kind = "attachment_changed" if fault.what == "attachment" else "file_changed"
        told = f"the {fault.what} {whose} was changed: it has another digest"
    after, before = near(fault.position)
    return Defect(
        kind,
        told,
        position=fault.position,
        stream=fault.stream,
        version=fault.version,
        key=fault.key,
        expected=fault.expected,
        found=fault.found,
        after=after,
        before=before,
    )
