"""The signed checkpoints that a log is held against: those of the database, of storage and of witnesses.

A checkpoint counts by its signature. The newest that a key of the auditor's has signed is the anchor: what it
covers is sealed. Older ones may also be signed by keys that the log itself names, which the anchor covers.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final
from uuid import UUID

import msgspec

from events.audit.checkpoint import origin_of
from events.audit.defect import Defect
from events.audit.digests import LogRow
from events.audit.evidence import CheckpointRow, Evidence
from events.audit.keys import STREAM, AuditKeyAdopted
from events.audit.naming import replaced
from events.audit.note import MalformedNote, NotSigned, PublicKey, parse_public_key
from events.audit.records import Signed, parse_signed
from events.audit.tile_store import TileStore
from events.audit.tree import EMPTY_ROOT
from events.audit.tree_check import Mark
from events.batch import BatchCancelled, BatchCompleted, BatchExpired
from events.catalog import decode
from events.errors import UnknownEvent
from events.incarnation import Begun

PAGE: Final = 500
HOUR: Final = timedelta(hours=1)
DATABASE: Final = "the database"
STORAGE: Final = "storage"
UNSIGNED: Final = "this log was sealed, but no checkpoint was found that one of the given keys has signed"
CLOSED: Final = (BatchCompleted.__name__, BatchCancelled.__name__, BatchExpired.__name__)
EVER: Final = 1 << 62
"""Larger than any tree."""


class Trust(msgspec.Struct, frozen=True):
    """What an auditor brings: keys, and checkpoints that were kept elsewhere with the names of the places."""

    keys: Sequence[PublicKey]
    witnessed: Sequence[tuple[str, Signed]] = ()


class Missing(msgspec.Struct, frozen=True):
    """That the event at `position`, of `stream`, names a checkpoint which is not kept: its size and root."""

    size: int
    root: str
    position: int
    stream: str


class Anchor(msgspec.Struct, frozen=True):
    """What is sealed: `size` events, with this root, by a checkpoint that is kept in `where` (None: nothing
    is). `told` are the checkpoints of storage and witnesses, `defects` those that nobody has signed."""

    size: int
    root: bytes
    where: str | None
    told: list[Mark]
    defects: list[Defect]


class Checkpoints:
    """Of one incarnation of the log."""

    def __init__(self, evidence: Evidence, tiles: TileStore, incarnation: UUID, trust: Trust) -> None:
        self.origin = origin_of(incarnation)
        self._evidence = evidence
        self._tiles = tiles
        self._incarnation = incarnation
        self._trust = trust
        self._known = list(trust.keys)
        self._former: dict[str, tuple[UUID, int]] = {}
        """Earlier incarnations by the name of their log, and up to which position they are this one's."""
        self._changed: list[Defect] = []
        """Of incarnations that are not told as they were begun."""

    async def anchor(self, *, of_hours: bool = True) -> Anchor:
        """Looks everywhere for the newest; `of_hours`: at the first one of every hour, too, which takes its
        time in a log of years. Raises as `Evidence` and storage do."""
        told: list[Mark] = []
        defects: list[Defect] = []
        anchors: list[Mark] = []
        lost: dict[str, tuple[int, str]] = {}
        found = list(self._trust.witnessed)
        before = await self._last_but_one()
        try:
            stored = await self._tiles.newest()
            defects += _fallen_behind(before, stored)
            if stored is not None:
                found.append((STORAGE, stored))
        except MalformedNote:
            defects.append(replaced(0, STORAGE, expected=None, found=None))
        if of_hours:
            async for name, encoded in self._of_hours():
                try:
                    found.append((STORAGE, parse_signed(encoded)))
                except MalformedNote:
                    defects.append(replaced(0, f"{STORAGE}/{name}", expected=None, found=None))
        for where, signed in found:
            size, root, origin = signed.checkpoint.size, signed.checkpoint.root, signed.checkpoint.origin
            ours = origin == self.origin
            if not (ours or origin in self._former) or not _signed_by(signed, self._known):
                defects.append(replaced(size, where, expected=None, found=root.hex()))
                continue
            if not ours and size > self._former[origin][1]:
                lost[origin] = max(lost.get(origin, (0, "")), (size, where))
                continue
            told.append(Mark(size, root, where, witness=where != STORAGE))
            if ours and _signed_by(signed, self._trust.keys):
                anchors.append(told[-1])
        told += await self._of_former()
        defects += self._changed or [
            _lost(size, self._former[origin][1], where) for origin, (size, where) in lost.items()
        ]
        newest = await self.newest(EVER)
        if newest is not None:
            anchors.append(newest)
        last = max(anchors, key=lambda mark: mark.size, default=None)
        if last is None:
            of_this = any(signed.checkpoint.origin not in self._former for _, signed in found)
            if of_this or len(self._known) > len(self._trust.keys):
                defects.append(Defect("checkpoint_replaced", UNSIGNED))
            return Anchor(0, EMPTY_ROOT, None, told, defects)
        return Anchor(last.size, last.root, last.where, told, defects)

    async def after(self, size: int) -> tuple[list[Mark], list[Defect], int]:
        """The next ones of the database behind a size, those that are none, and the size to go on behind."""
        rows = await self._evidence.checkpoints(self._incarnation, size, PAGE)
        marks, defects = [], []
        for row in rows:
            if self._holds(row) is None:
                defects.append(replaced(row.size, DATABASE, expected=None, found=row.root.hex()))
            else:
                marks.append(Mark(row.size, row.root, DATABASE))
        return marks, defects, rows[-1].size if len(rows) == PAGE else EVER

    async def learn_keys(self) -> None:
        """Keys that the log itself names, whose signatures may stand alone on older checkpoints. What is
        under the newest checkpoint is told by a key that the auditor trusts. And the log's earlier names."""
        incarnations = await self._evidence.incarnations()
        self._changed = [
            _changed(one)
            for before, one in pairwise([None, *incarnations])
            if one is not None and not one.is_as_begun(None if before is None else before.id)
        ]
        self._former, end = {}, EVER
        for one in reversed(incarnations):
            if one.id != self._incarnation:
                self._former[origin_of(one.id)] = one.id, end
            end = min(end, one.position)
        self._known = list(self._trust.keys)
        for data in await self._evidence.keys(STREAM):
            try:
                key = parse_public_key(msgspec.json.decode(data, type=AuditKeyAdopted).key)
            except (MalformedNote, msgspec.MsgspecError):
                continue  # what is wrong with the event is found where its digest is looked at
            if key not in self._known:
                self._known.append(key)

    async def missing(self, rows: Sequence[LogRow]) -> list[Missing]:
        """Of events that end batches, those whose checkpoint the database does not keep."""
        named = []
        for row in rows:
            with suppress(UnknownEvent):
                end = decode(row.type, row.data) if row.type in CLOSED else None
                if isinstance(end, BatchCompleted | BatchCancelled | BatchExpired) and end.checkpoint:
                    named.append(
                        Missing(end.checkpoint.size, end.checkpoint.root, row.position, row.stream_id)
                    )
        found = await self._evidence.kept_checkpoints([one.size for one in named]) if named else set()
        kept = {(size, root.hex()) for size, root in found}
        return [one for one in named if (one.size, one.root) not in kept]

    async def newest(self, upto: int) -> Mark | None:
        """The last checkpoint of the database, up to a size, that a key of the auditor's has signed."""
        while rows := await self._evidence.newest_checkpoints(self._incarnation, upto, PAGE):
            for row in rows:
                signed = self._holds(row)
                if signed is not None and _signed_by(signed, self._trust.keys):
                    return Mark(row.size, row.root, DATABASE)
            upto = rows[-1].size - 1
        return None

    async def _of_former(self) -> list[Mark]:
        """Of each earlier incarnation the last checkpoint of what this one took over from it."""
        marks = []
        for origin, (id, end) in self._former.items():
            for row in await self._evidence.newest_checkpoints(id, end, 4):
                if self._holds(row, origin) is not None:
                    marks.append(Mark(row.size, row.root, f"{DATABASE}, of {origin}", witness=True))
                    break
        return marks

    async def _last_but_one(self) -> int:
        """The size of the checkpoint before the newest of the database; 0 where there is none. Storage has
        that one or a later one, since it is stored before the next is signed."""
        rows = await self._evidence.newest_checkpoints(self._incarnation, EVER, 4)
        sizes = [row.size for row in rows if self._holds(row) is not None]
        return sizes[1] if len(sizes) > 1 else 0

    async def around(self, positions: Sequence[int]) -> list[int]:
        """The sizes of the database's checkpoints around some positions, ascending: of each the last one that
        does not cover it, and the first one that does."""
        rows = await self._evidence.checkpoints_around(self._incarnation, positions)
        return sorted(row.size for row in rows if self._holds(row) is not None)

    async def _of_hours(self) -> AsyncIterator[tuple[str, bytes]]:
        """Those that storage keeps for good, since the log began."""
        began = await self._evidence.began()
        hours: list[datetime] = []
        hour = (began or datetime.now(UTC)).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        while hour <= datetime.now(UTC):
            hours.append(hour)
            hour += HOUR
            if len(hours) == PAGE or hour > datetime.now(UTC):
                for kept in await self._tiles.first_of(hours):
                    yield kept
                hours.clear()

    def _holds(self, row: CheckpointRow, origin: str | None = None) -> Signed | None:
        """The checkpoint of a row, where the row says the same as its note and somebody known signed it."""
        try:
            signed = parse_signed(row.note)
        except MalformedNote:
            return None
        said = (signed.checkpoint.origin, signed.checkpoint.size, signed.checkpoint.root)
        holds = said == (origin or self.origin, row.size, row.root) and _signed_by(signed, self._known)
        return signed if holds else None


def _changed(one: Begun) -> Defect:
    """The defect of an incarnation of which something else is told than its id was made of."""
    told = (
        f"position {one.position}, time or reason ({one.reason!r}) of incarnation {one.id}, or the one "
        "before it, are not those that it was begun with"
    )
    return Defect("incarnation_changed", told, position=one.position, key=str(one.id))


def _lost(size: int, end: int, where: str) -> Defect:
    """The defect of events that were sealed before the log was forked behind the first `end` of them."""
    told = (
        f"the log was forked at position {end}, and {where} has a checkpoint of {size} events of what it was "
        "before: those behind are lost"
    )
    return Defect("tail_cut", told, position=end + 1, upto=size, key=where)


def _fallen_behind(before: int, stored: Signed | None) -> list[Defect]:
    """The defect of a checkpoint in storage that is gone, or older than the one `before` the newest."""
    size = 0 if stored is None else stored.checkpoint.size
    if size >= before:
        return []
    how = "is gone" if stored is None else f"was replaced by an older one, of size {size}"
    told = f"the newest checkpoint in storage {how}: the database keeps one of size {before}"
    return [Defect("checkpoint_replaced", told, key=f"{STORAGE}/{size}")]


def _signed_by(signed: Signed, keys: Sequence[PublicKey]) -> bool:
    try:
        return bool(signed.note.signers(keys))
    except NotSigned:
        return False
