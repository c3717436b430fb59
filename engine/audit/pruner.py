"""Moves events of old batches from the database to storage, as segments that everybody still reads.

    a batch that has ended, its results and bodies gone ─▶ its outcomes and indexes of lines
      ─▶ held against their digests, and their leaves against the root that was signed
      ─▶ packed, written, read back ─▶ deleted from the log, by a function that looks for itself

Each segment is one transaction, and nothing is locked but its rows, which nobody writes any more. So a
running fleet goes on, and whenever this dies, the next one goes on: what was written and not deleted is
written again under the same name, with the same bytes.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

import msgspec

from engine.audit.checkpoints import EVER, Checkpoints, Trust
from events.audit.digests import LogRow, content_digest_of, event_digest_of
from events.audit.evidence import Evidence
from events.audit.note import PublicKey
from events.audit.tile_store import TileStore
from events.audit.tiles import HEIGHT, split, tile_at
from events.audit.tree import includes
from events.audit.tree_check import Mark
from events.database import Database
from events.errors import BatchmillError, NotFound
from events.failpoint import at
from events.incarnation import current_incarnation
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


async def prune(
    database: Database,
    store: Store,
    keys: Sequence[PublicKey],
    older_than: timedelta,
    *,
    dry: bool = False,
    most: int = SEGMENT_EVENTS,
    tell: Tell = lambda _: None,
) -> Pruned:
    """Moves what belongs to batches that ended so long ago, and what a checkpoint covers that one of the keys
    has signed; `dry`: only says how much that is. `database` has the owner's login; at most `most` events are
    in a segment.

    Raises `NotFound` where there is no such checkpoint, `NotAsSealed`, `TileMissing`, as `Moving`, and what
    the database and storage raise.
    """
    moving, evidence = Moving(database), Evidence(database, store)
    incarnation = await current_incarnation(database)
    tiles = TileStore(store, incarnation)
    signed = await Checkpoints(evidence, tiles, incarnation, Trust(keys)).newest(EVER)
    if signed is None:
        raise NotFound(
            "no checkpoint of this log was signed with one of the given keys: only what is sealed is moved"
        )
    if not dry:
        await moving.require_right()
    before = await moving.now() - older_than
    end = min(signed.size, await evidence.since(before))
    folder = f"audit/{incarnation}/segments"
    pruning = _Pruning(moving, store, folder, _SealedLeaves(tiles, signed), most, dry=dry)
    return await pruning.run(before, end, tell)


class _Pruning:
    def __init__(
        self,
        moving: Moving,
        store: Store,
        folder: str,
        sealed: "_SealedLeaves",
        most: int,
        *,
        dry: bool,
    ) -> None:
        self._moving = moving
        self._store = store
        self._folder = folder
        self._sealed = sealed
        self._most = most
        self._dry = dry

    async def run(self, before: datetime, end: int, tell: Tell) -> Pruned:
        """Moves what may be, up to the position `end`."""
        done, segment = Pruned(end), _Filling()
        while places := await self._moving.places(done.upto, end, LOOKED):
            streams = sorted({place.stream_id for place in places if place.of_lines})
            movable = await self._moving.movable(streams, before) if streams else set()
            positions = [place.position for place in places if place.of_lines and place.stream_id in movable]
            done.kept += sum(place.of_lines for place in places) - len(positions)
            for start in range(0, len(positions), READ):
                for row in await self._moving.rows(positions[start : start + READ]):
                    await self._sealed.require(row)
                    if segment.rows and not segment.takes(row, self._most):
                        await self._move(segment, done)
                        segment = _Filling()
                    segment.add(row)
            done.upto = places[-1].position
            tell(done)
        if segment.rows:
            await self._move(segment, done)
        return done

    async def _move(self, segment: "_Filling", done: Pruned) -> None:
        rows = segment.rows
        packed = pack(rows)
        if not self._dry:
            digest = sha256(packed)
            name = f"{self._folder}/{rows[0].position}-{rows[-1].position}-{digest.hexdigest()[:16]}"
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


class _SealedLeaves:
    """What was sealed, by the newest checkpoint: of a tile at a time."""

    def __init__(self, tiles: TileStore, signed: Mark) -> None:
        self._tiles = tiles
        self._signed = signed
        self._number, self._leaves = -1, list[bytes]()

    async def require(self, row: LogRow) -> None:
        """Raises `NotAsSealed` for an event that is not what it was when the root was signed."""
        index = row.position - 1
        if index >> HEIGHT != self._number:
            await self._read(index >> HEIGHT)
        sound = (content_digest_of(row), event_digest_of(row)) == (row.content_digest, row.digest)
        if not sound or row.leaf != self._leaves[index - (self._number << HEIGHT)]:
            raise NotAsSealed(
                f"the event at position {row.position} is not what was sealed there: nothing is pruned from "
                "there on; `batchmill audit verify` tells more"
            )

    async def _read(self, number: int) -> None:
        """Reads a tile. The hashes in the proof of its first leaf are made of all the others, so one proof is
        of all of them."""
        size, first = self._signed.size, number << HEIGHT
        tile = tile_at(0, number, size)
        leaves = split(await self._tiles.read(tile))
        if not includes(self._signed.root, size, first, leaves[0], await self._tiles.inclusion(first, size)):
            raise NotAsSealed(
                f"the tile {tile.path} in storage does not give the root that was signed of {size} events"
            )
        self._number, self._leaves = number, leaves


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
