"""Moves events of old batches from the database to storage, as segments that everybody still reads.

    a batch that has ended, its results and bodies gone ─▶ its outcomes and indexes of lines
      ─▶ held against their digests, and their leaves against the root that was signed
      ─▶ packed, written, read back ─▶ deleted from the log, by a function that looks for itself

Each segment is one transaction, and nothing is locked but its rows, which nobody writes any more. So a
running fleet goes on, and whenever this dies, the next one goes on: what was written and not deleted is
written again under the same name, with the same bytes."""

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from events.audit.digests import LogRow, content_digest_of, event_digest_of
from events.audit.evidence import Evidence
from events.audit.tile_store import TileStore
from events.audit.tiles import HEIGHT, split, tile_at
from events.audit.tree import includes
from events.audit.tree_check import Mark
from events.errors import BatchmillError
from events.failpoint import at
from events.segments.encoding import pack, unpack
from events.segments.moving import Moving
from storage.store import Store

SEGMENT_BYTES: Final = 1 << 20
"""Of the columns of a segment's events, as good as: one event may be larger."""
SEGMENT_EVENTS: Final = 2048
LOOKED: Final = 5000
"""Positions looked at together."""
READ: Final = 256
"""Events read together."""


class Pruned(msgspec.Struct):
    """What was moved: `events` in `segments`, of `bytes` that are `stored` there. `kept` events of lines
    stay: their batches have not ended, or not long enough ago, or have results still. `upto` is how far the
    log was looked at, of `end`."""

    end: int
    upto: int = 0
    events: int = 0
    segments: int = 0
    bytes_: int = msgspec.field(name="bytes", default=0)
    stored: int = 0
    kept: int = 0


class NotAsSealed(BatchmillError):
    """The log is not what was sealed: nothing of it is moved."""


Tell = Callable[[Pruned], None]


class Pruner:
    """Over the owner's database, and the storage of segments and of the tiles of an incarnation, of which
    `signed` is the newest checkpoint."""

    def __init__(
        self,
        moving: Moving,
        evidence: Evidence,
        store: Store,
        incarnation: UUID,
        signed: Mark,
        most: int = SEGMENT_EVENTS,
    ) -> None:
        """`most`: events in a segment."""
        self._moving = moving
        self._evidence = evidence
        self._store = store
        self._tiles = TileStore(store, incarnation)
        self._prefix = f"audit/{incarnation}/segments"
        self._signed = signed
        self._most = most
        self._tile: tuple[int, list[bytes]] = (-1, [])

    async def run(self, before: datetime, *, dry: bool = False, tell: Tell = lambda _: None) -> Pruned:
        """Moves what belongs to batches that ended before a moment; `dry`: only says how much that is. Raises
        `NotAsSealed`, `TileMissing`, as `Moving`, and what the database and storage raise."""
        if not dry:
            await self._moving.require_right()
        end = min(self._signed.size, await self._evidence.since(before))
        done, segment = Pruned(end), _Filling()
        while places := await self._moving.places(done.upto, end, LOOKED):
            streams = sorted({place.stream_id for place in places if place.of_lines})
            movable = await self._moving.movable(streams, before) if streams else set()
            positions = [place.position for place in places if place.of_lines and place.stream_id in movable]
            done.kept += sum(place.of_lines for place in places) - len(positions)
            for start in range(0, len(positions), READ):
                for row in await self._moving.rows(positions[start : start + READ]):
                    await self._require_sealed(row)
                    if segment.rows and not segment.takes(row, self._most):
                        await self._move(segment, done, dry=dry)
                        segment = _Filling()
                    segment.add(row)
            done.upto = places[-1].position
            tell(done)
        if segment.rows:
            await self._move(segment, done, dry=dry)
        return done

    async def _move(self, segment: "_Filling", done: Pruned, *, dry: bool) -> None:
        rows = segment.rows
        packed = pack(rows)
        if not dry:
            digest = sha256(packed)
            name = f"{self._prefix}/{rows[0].position}-{rows[-1].position}-{digest.hexdigest()[:16]}"
            await at("segment.before")
            await self._store.keep(name, packed)
            await at("segment.after")
            found = await self._store.read(name, 0, len(packed) + 1)
            if found != packed or unpack(found) != rows:
                raise NotAsSealed(
                    f"{name} in storage is not what was written there: nothing of it was deleted"
                )
            await self._moving.prune(rows, name, digest.digest(), len(packed))
        done.events += len(rows)
        done.segments += 1
        done.bytes_ += segment.bytes_
        done.stored += len(packed)

    async def _require_sealed(self, row: LogRow) -> None:
        """Raises `NotAsSealed` for an event that is not what it was when the root was signed."""
        sound = (content_digest_of(row), event_digest_of(row)) == (row.content_digest, row.digest)
        number = (row.position - 1) >> HEIGHT
        leaves = await self._sealed_leaves(number)
        if not sound or row.leaf != leaves[row.position - 1 - (number << HEIGHT)]:
            raise NotAsSealed(
                f"the event at position {row.position} is not what was sealed there: nothing is pruned from "
                "there on; `batchmill audit verify` tells more"
            )

    async def _sealed_leaves(self, number: int) -> list[bytes]:
        """The leaves of a tile. The hashes in the proof of the first one are made of all the others."""
        if self._tile[0] != number:
            size, first = self._signed.size, number << HEIGHT
            tile = tile_at(0, number, size)
            leaves = split(await self._tiles.read(tile))
            proof = await self._tiles.inclusion(first, size)
            if not includes(self._signed.root, size, first, leaves[0], proof):
                raise NotAsSealed(
                    f"the tile {tile.path} in storage does not give the root that was signed of {size}"
                )
            self._tile = (number, leaves)
        return self._tile[1]


class _Filling:
    """A segment to be."""

    def __init__(self) -> None:
        self.rows: list[LogRow] = []
        self.bytes_ = 0

    def takes(self, row: LogRow, most: int) -> bool:
        """Whether there is room for one more."""
        return len(self.rows) < most and self.bytes_ + _size(row) <= SEGMENT_BYTES

    def add(self, row: LogRow) -> None:
        self.rows.append(row)
        self.bytes_ += _size(row)


def _size(row: LogRow) -> int:
    return len(row.data) + len(row.metadata) + len(row.lines or b"") + len(row.attachments or b"")
