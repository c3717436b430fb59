"""How far a verification is, and what it found."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal
from uuid import UUID

import msgspec

from engine.audit.checkpoints import DATABASE, Missing
from engine.audit.contents import Looked
from events.audit.defect import MOST, Defect
from events.audit.naming import Explanations, Unsound
from events.audit.naming_contents import name_contents
from events.audit.naming_segments import SegmentFault, name_segments
from events.audit.tree_check import Mark, TreeState, around

FIRST: Final = UUID(int=0)
Phase = Literal["events", "read models", "strays", "done"]


class Progress(msgspec.Struct):
    """How far a verification is: all that it has to be begun with to go on."""

    origin: str
    base: int
    """Positions up to this one are left out."""
    head: int
    """The last position that is looked at."""
    size: int
    """How many events were sealed."""
    anchor: str | None
    phase: Phase = "events"
    position: int = 0
    checkpoint: int = 0
    tree: TreeState | None = None
    events: int = 0
    streams: int = 0
    foreign: int = 0
    """Rows of another program's shape, which were compared as far as both know it."""
    passed: int = 0
    """Checkpoints of the database that the tree was held against."""
    ahead: list[int] = []
    """Sizes of those that were read, and that the tree has not come to."""
    sizes: list[int] = []
    """Those of the checkpoints around what is wrong."""
    unsound: list[Unsound] = []
    named: list[Defect] = []
    """Defects that are named already."""
    of_events: list[Defect] = []
    gaps: list[Defect] = []
    segments: list[SegmentFault] = []
    models: list[Defect] = []
    odd: list[tuple[Defect, str, int, int | None]] = []
    """What is a defect unless one of the events explains it: of which stream, between which positions."""
    missing: list[Missing] = []
    told: list[Mark] = []
    """Checkpoints that storage and witnesses have."""
    looked: Looked = msgspec.field(default_factory=Looked)
    stray_model: str = ""
    stray_attachment: tuple[UUID, int] = (FIRST, -1)

    def reach(self, size: int) -> None:
        """The tree was held against all checkpoints up to this size."""
        behind = [one for one in self.ahead if one > size]
        self.passed += len(self.ahead) - len(behind)
        self.ahead = behind

    @property
    def places(self) -> list[int]:
        """Positions at which something is wrong, or that may turn out to be so."""
        return [
            *(one.position for one in self.unsound),
            *(one.position for one in self.looked.faults),
            *(one.position for one in self.looked.doubts),
            *(one.first for one in self.segments),
        ]

    def rewind(self) -> None:
        """Forgets what of checkpoints was read ahead of the tree, before it is gone on with."""
        if self.phase != "events":
            return
        reached = self.base if self.tree is None else self.tree.size
        self.named = [
            one
            for one in self.named
            if one.upto is None or one.upto <= reached or one.key != f"{DATABASE}/{one.upto}"
        ]
        self.ahead = []
        self.checkpoint = reached


Show = Callable[[Progress], Awaitable[None]]
"""Is called after each page; what it is given can be kept only as long as the call."""


class Report(msgspec.Struct, frozen=True):
    """What a verification found. Positions up to `sealed` are under a checkpoint that `anchor` has, those
    from `unsealed_from` on are under none yet."""

    clean: bool
    origin: str
    first: int
    head: int
    sealed: int
    unsealed_from: int | None
    anchor: str | None
    events: int
    checkpoints: int
    attachments: int
    erased: int
    files: int
    results: int
    bytes_: int = msgspec.field(name="bytes")
    streams: int
    foreign: int
    """Of these, those that have a row of another program's shape, compared as far as both know it."""
    defects: list[Defect]
    more: bool
    """Whether there are more defects than are told."""


def report_of(progress: Progress) -> Report:
    """What was found, when everything has been looked at."""

    def near(position: int) -> tuple[int | None, int | None]:
        return around(position, progress.sizes)

    explanations = Explanations(progress.of_events)
    odd = [
        defect
        for defect, stream, after, before in progress.odd
        if not explanations.explain(stream, after, before)
    ]
    looked = progress.looked
    lacking = {stream for _, stream, _, _ in progress.odd}
    contents = name_contents(
        looked.faults, looked.doubts, progress.of_events, lacking, explanations.last, near
    )
    events = [explanations.complete(defect) for defect in progress.of_events]
    missing = _missing(progress.missing, [*progress.named, *events])
    segments = name_segments(progress.segments, near)
    defects = [*progress.named, *events, *missing, *segments, *contents, *progress.models, *odd]
    return Report(
        clean=not defects,
        origin=progress.origin,
        first=progress.base + 1,
        head=progress.head,
        sealed=min(progress.size, progress.head),
        unsealed_from=progress.size + 1 if progress.head > progress.size else None,
        anchor=progress.anchor,
        events=progress.events,
        checkpoints=progress.passed + len(progress.ahead),
        attachments=looked.attachments,
        erased=looked.erased,
        files=looked.files,
        results=looked.results,
        bytes_=looked.bytes_,
        streams=progress.streams,
        foreign=progress.foreign,
        defects=defects[:MOST],
        more=len(defects) > MOST,
    )


def _missing(missing: Sequence[Missing], defects: Sequence[Defect]) -> list[Defect]:
    """The defects of checkpoints that events name and nobody keeps, where nothing else says why: the event is
    not what was sealed, or the checkpoint was replaced."""
    if any(defect.kind == "history_rewritten" for defect in defects):
        return []
    replaced = {defect.upto for defect in defects if defect.kind == "checkpoint_replaced"}
    touched = {position for defect in defects for position in (defect.position, defect.upto)}
    return [
        Defect(
            "checkpoint_replaced",
            f"the checkpoint of size {one.size}, which the event at position {one.position} names, is gone",
            position=one.position,
            stream=one.stream,
            key=f"{DATABASE}/{one.size}",
            expected=one.root,
        )
        for one in {one.size: one for one in reversed(missing)}.values()
        if one.size not in replaced and one.position not in touched
    ]
