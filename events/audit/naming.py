"""Names what happened to a log from the places where it is not what was sealed.

One act is one defect: events that have changed places are one, events that stood side by side and are gone
are one. What else an act leaves behind (a gap in the versions of a stream, a body without its event) is no
defect of its own: `Explanations` says what of it is explained.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from events.audit.alignment import Parting
from events.audit.defect import Defect
from events.audit.tree_check import Disagreement, around


class Place(msgspec.Struct, frozen=True):
    """Whose the event at a position is."""

    stream: str
    version: int


class Unsound(msgspec.Struct, frozen=True):
    """An event whose columns do not have the digest that it names: which columns, and both digests (hex)."""

    position: int
    place: Place
    columns: str
    expected: str
    found: str


Around = Callable[[int], tuple[int | None, int | None]]


def name_events(
    partings: Sequence[Parting],
    unsound: Sequence[Unsound],
    places: Mapping[int, Place],
    *,
    head: int,
    laid: int,
    size: int,
    sizes: Sequence[int],
) -> list[Defect]:
    """The defects of the events themselves. `places` has what stands at the positions of partings; the log
    ends at `head`, `size` events were sealed, of which the first `laid` were laid beside it; `sizes` are
    those of the checkpoints."""

    def near(position: int) -> tuple[int | None, int | None]:
        return around(position, sizes)

    gone = {p.sealed: p.sealed_position for p in partings if p.sealed is not None}
    moved = {
        p.position: there
        for p in partings
        if p.row is not None and p.position is not None and (there := gone.get(p.row)) is not None
    }
    came_from = set(moved.values())
    broken = {one.position: one for one in unsound}
    defects = [_reordered(cycle, moved, places, near) for cycle in _cycles(moved)]
    missing: list[tuple[int, bytes | None]] = []
    for parting in partings:
        position, there = parting.position, parting.sealed_position
        has_row = parting.row is not None and position is not None and position not in moved
        has_sealed = there is not None and there not in came_from
        if has_row and position is not None and has_sealed and parting.sealed is not None:
            defects.append(_changed(position, broken.pop(position, None), parting, places, near))
        elif has_row and position is not None and not has_sealed:
            broken.pop(position, None)
            defects.append(_inserted(position, parting, places, near))
        elif has_sealed and there is not None:
            missing.append((there, parting.sealed))
    defects += _missing(missing, head, laid, size, near)
    for one in broken.values():
        after, before = near(one.position)
        defects.append(
            Defect(
                "event_changed",
                f"the {one.columns} of the event at position {one.position} (version {one.place.version} of "
                f"{one.place.stream}) was changed: it does not have the digest that was recorded",
                position=one.position,
                stream=one.place.stream,
                version=one.place.version,
                expected=one.expected,
                found=one.found,
                after=after,
                before=before,
            )
        )
    return defects


def name_history(
    disagreeing: Sequence[Disagreement], agreed: int, witnessed: int, *, explained: bool
) -> list[Defect]:
    """The defects of checkpoints that the tree does not have the root of; it has those of sizes up to
    `agreed`, and of witnesses' up to `witnessed`. One that a later one contradicts was replaced, but only
    another witness contradicts a witness: else the history was, unless it is `explained` by what the log has
    lost."""
    defects = []
    rewritten: Disagreement | None = None
    for one in disagreeing:
        mark = one.mark
        if mark.size < witnessed if mark.witness else mark.size <= agreed:
            defects.append(replaced(mark.size, mark.where, expected=one.root, found=mark.root.hex()))
        elif rewritten is None:
            rewritten = one
    if rewritten is not None and not explained:
        mark = rewritten.mark
        defects.append(
            Defect(
                "history_rewritten",
                f"the log up to position {mark.size} is not the one whose checkpoint {mark.where} has: "
                f"what came after position {rewritten.after} was rewritten, tiles and all",
                position=rewritten.after + 1,
                upto=mark.size,
                key=mark.where,
                expected=mark.root.hex(),
                found=rewritten.root,
                after=rewritten.after or None,
                before=mark.size,
            )
        )
    return defects


def replaced(size: int, where: str, *, expected: str | None, found: str | None) -> Defect:
    """The defect of a checkpoint that is not what was signed."""
    return Defect(
        "checkpoint_replaced",
        f"the checkpoint of size {size} in {where} was replaced: it is not what was signed of this log",
        key=f"{where}/{size}",
        expected=expected,
        found=found,
        upto=size,
    )


class Explanations:
    """What the named defects of events explain of what else is odd. Each event that is gone explains the
    traces of one event."""

    def __init__(self, defects: Sequence[Defect]) -> None:
        self.touched = {d.stream for d in defects if d.stream is not None}
        """Streams with an event that is not what was sealed."""
        self._gone: list[tuple[int, int]] = []
        self._of: dict[str, int] = {}
        for defect in defects:
            if defect.kind in ("event_deleted", "event_changed", "tail_cut", "history_rewritten"):
                first = defect.position or 1
                self._gone.append((first, defect.upto or first))
        self.last = max((upto for _, upto in self._gone), default=0)
        """The last position of an event that is gone: what it told, such as that a file was deleted, nobody
        knows now."""
        inserted = sum(defect.kind == "event_inserted" for defect in defects)
        self._moved = inserted + sum(upto - first + 1 for first, upto in self._gone)
        """By how many positions others may have been moved."""
        self._left = [upto - first + 1 for first, upto in self._gone]

    def explain(self, stream: str, after: int = 0, before: int | None = None) -> bool:
        """Whether an event of this stream that was between two positions is known to be gone."""
        if stream in self.touched or stream in self._of:
            return True
        for at, (first, upto) in enumerate(self._gone):
            behind = upto + self._moved > after
            if self._left[at] and behind and (before is None or first - self._moved < before):
                self._left[at] -= 1
                self._of[stream] = first
                return True
        return False

    def complete(self, defect: Defect) -> Defect:
        """The defect, with the stream that it took an event from where that is known."""
        if defect.kind not in ("event_deleted", "tail_cut") or defect.stream is not None:
            return defect
        streams = sorted(stream for stream, first in self._of.items() if first == defect.position)
        if len(streams) != 1:
            return defect
        return msgspec.structs.replace(defect, stream=streams[0], told=f"{defect.told} (of {streams[0]})")


def _cycles(moved: Mapping[int, int]) -> Iterator[list[int]]:
    """Positions whose events have changed places among each other, or that one event went from and to."""
    seen: set[int] = set()
    starts = sorted(moved, key=lambda position: (position in set(moved.values()), position))
    for start in starts:
        cycle, position = [], start
        while position in moved and position not in seen:
            seen.add(position)
            cycle.append(position)
            position = moved[position]
        if cycle:
            yield cycle if position == start else [*cycle, position]


def _reordered(
    cycle: Sequence[int], moved: Mapping[int, int], places: Mapping[int, Place], near: Around
) -> Defect:
    ordered = sorted(cycle)
    here = cycle[0]
    place = places.get(here)
    after, before = near(min(p for p in ordered if p > 0) if any(p > 0 for p in ordered) else 1)
    return Defect(
        "events_reordered",
        f"events were put into another order: at position {here} stands the event that was sealed at "
        f"{moved[here]} (positions {', '.join(map(str, ordered[:10]))})",
        position=ordered[0],
        upto=ordered[-1],
        stream=None if place is None else place.stream,
        version=None if place is None else place.version,
        after=after,
        before=before,
    )


def _changed(
    position: int, broken: Unsound | None, parting: Parting, places: Mapping[int, Place], near: Around
) -> Defect:
    place = places.get(position)
    after, before = near(parting.sealed_position or position)
    how = (
        "was changed and given new digests"
        if broken is None
        else f"was changed ({broken.columns}), and does not have the digest that was recorded"
    )
    return Defect(
        "event_changed",
        f"the event at position {position}{_of(place)} {how}: its leaf is not the sealed one",
        position=position,
        stream=None if place is None else place.stream,
        version=None if place is None else place.version,
        expected=_hex(parting.sealed),
        found=_hex(parting.row),
        after=after,
        before=before,
    )


def _inserted(position: int, parting: Parting, places: Mapping[int, Place], near: Around) -> Defect:
    place = places.get(position)
    after, before = near(position)
    return Defect(
        "event_inserted",
        f"the event at position {position}{_of(place)} was inserted: no such event was sealed",
        position=position,
        stream=None if place is None else place.stream,
        version=None if place is None else place.version,
        found=_hex(parting.row),
        after=after,
        before=before,
    )


def _missing(
    missing: Sequence[tuple[int, bytes | None]], head: int, laid: int, size: int, near: Around
) -> Iterator[Defect]:
    """One defect for each run of sealed events that are gone."""
    runs: list[list[tuple[int, bytes | None]]] = []
    for one in sorted(missing, key=lambda one: one[0]):
        if runs and one[0] == runs[-1][-1][0] + 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    for run in runs:
        first, upto = run[0][0], run[-1][0]
        after, before = near(first)
        cut = upto == laid and head < first
        upto = size if cut else upto
        which = f"position {first}" if first == upto else f"positions {first} to {upto}"
        yield Defect(
            "tail_cut" if cut else "event_deleted",
            f"the log was cut: it ends at position {head}, but {upto} events were sealed"
            if cut
            else f"what was sealed at {which} was deleted",
            position=first,
            upto=upto,
            expected=_hex(run[0][1]),
            after=after,
            before=before,
        )


def _of(place: Place | None) -> str:
    return "" if place is None else f" (version {place.version} of {place.stream})"


def _hex(leaf: bytes | None) -> str | None:
    return None if leaf is None else leaf.hex()
