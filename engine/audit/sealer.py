"""The follower that seals the log: gives each event its leaf, keeps the tiles, and signs checkpoints.

    events ─▶ leaves ─▶ tiles in storage ─▶ consistency with the last checkpoint, proven from these tiles
      ─▶ signed ─▶ kept in the database, under the leadership's token ─▶ storage, witnesses

Nothing is signed that does not extend what was signed before. Where that stands is read from storage and from
the database, and the larger one counts: so a database that was restored from yesterday is found out. The last
sealed event is looked at again each time, so that this is found out under a running program, too. A crash at
any point leaves tiles that are kept again with the same bytes, or a checkpoint that is not everywhere yet.

It reads the log itself, and not by a `Follower`, because it needs no more of an event than its digest.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
import structlog

from engine.audit.signer import Signer
from engine.audit.witnesses import Witnesses
from engine.origin import origin
from events.audit.checkpoint import Checkpoint, origin_of
from events.audit.keys import PROJECT, STREAM, AdoptKey, AuditKeys, decide
from events.audit.note import MalformedNote, NotSigned
from events.audit.records import AuditRecords, Leaf, Signed
from events.audit.tile_store import TileMissing, TileStore
from events.audit.tiles import Tile, Tiling
from events.audit.tree import EMPTY_ROOT, extends
from events.catalog import new_event
from events.errors import BatchmillError, DatabaseUnavailable, LeadershipLost
from events.journal import Decision, Journal
from events.log import Leadership, Row
from storage.store import NameTaken, StorageError, Store

_logger = structlog.get_logger()
EVERY: Final = 1.0
"""Seconds between two checkpoints while there are events."""
PAGE: Final = 2_048
"""Leaves read together."""
MOST: Final = 32 * PAGE
"""Most leaves that one checkpoint adds: with more to do, the next follows at once."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds before what failed is tried again, doubling."""
TOLD_AGAIN: Final = 600.0
"""Seconds after which a log that is still not sealed is told of again."""
_ORIGIN: Final = origin("sealer")


class SealRefused(BatchmillError):
    """The log does not go on from what was sealed: nothing is signed until somebody has looked."""


class Sealed(msgspec.Struct):
    """How far the tree is: its tiles, the last checkpoint of it, the hash of the last leaf under that."""

    incarnation: UUID
    tiles: TileStore
    tiling: Tiling
    last: Checkpoint
    last_leaf: bytes | None = None
    partial: set[Tile] = msgspec.field(default_factory=set)
    """Partial tiles that were kept and whose full ones were not yet."""


class Sealer:
    """`run` while leading."""

    def __init__(
        self,
        journal: Journal,
        records: AuditRecords,
        store: Store,
        signer: Signer,
        witnesses: Witnesses,
        *,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._records = records
        self._store = store
        self._signer = signer
        self._witnesses = witnesses
        self._every = every
        self._clock = clock
        self._hour: datetime | None = None
        """The last one of which the first checkpoint was stored for good."""
        self._well_at = 0.0
        """When all there was to seal was sealed."""

    async def run(self, leadership: Leadership) -> None:
        """Seals until cancelled. What storage, the signer or the log itself stand in the way of is told and
        tried again. Raises `LeadershipLost`, and what the database raises."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._witnesses.run())
            pause, told, told_at = FIRST_PAUSE, "", 0.0
            self._well_at = self._clock()
            while True:
                try:
                    await self._seal_on(leadership)
                except (LeadershipLost, DatabaseUnavailable):
                    raise
                except (BatchmillError, StorageError) as error:
                    now = self._clock()
                    if str(error) != told or now - told_at >= TOLD_AGAIN:
                        self._tell(error, now - self._well_at)
                        told_at = now
                    pause = min(2 * pause, LONGEST_PAUSE) if str(error) == told else FIRST_PAUSE
                    told = str(error)
                    await asyncio.sleep(pause)

    async def open(self, leadership: Leadership) -> Sealed:
        """Where to go on from. Raises `SealRefused` where what was signed contradicts itself or the log, or
        was signed by keys that are not at hand."""
        incarnation = await self._records.incarnation()
        tiles = TileStore(self._store, incarnation)
        try:
            kept, stored = await self._records.newest(incarnation), await tiles.newest()
        except MalformedNote as error:
            raise SealRefused(f"the last checkpoint cannot be read: {error}") from error
        for signed in (kept, stored):
            self._require_ours(signed, incarnation)
        last = max((s for s in (kept, stored) if s is not None), key=_size, default=None)
        if last is None:
            sealed = Sealed(incarnation, tiles, Tiling(), Checkpoint(origin_of(incarnation), 0, EMPTY_ROOT))
        else:
            signed_before = [s.checkpoint for s in (kept, stored) if s is not None]
            sealed = await self._resumed(incarnation, tiles, last.checkpoint, signed_before)
            self._require_dense(sealed, await self._records.leaves(max(sealed.tiling.size, 1), 1))
            if kept is None or kept.checkpoint.size < last.checkpoint.size:
                await self._records.keep(leadership, incarnation, last)
            if stored is None or stored.checkpoint.size < last.checkpoint.size:
                await tiles.publish(last)
            self._witnesses.tell(last)
        await self._adopt(leadership)
        return sealed

    async def seal(self, sealed: Sealed, leadership: Leadership) -> bool:
        """Seals what was appended, `MOST` events at a time; False where there was nothing new.

        Raises `SealRefused` where the log does not go on from what was sealed, `LeadershipLost`,
        `SignerFailed`, and what storage and the database raise: then begin again with `open`.
        """
        begun = sealed.tiling.size
        while sealed.tiling.size < max(begun, sealed.last.size) + MOST:
            leaves = await self._records.leaves(max(sealed.tiling.size, 1), PAGE)
            fresh = self._require_dense(sealed, leaves)
            if not fresh:
                break
            await self._add(sealed, fresh)
        if sealed.tiling.size < sealed.last.size:
            raise _went_back(f"ends at position {sealed.tiling.size}, but {sealed.last.size} were sealed")
        if sealed.tiling.size == sealed.last.size:
            if sealed.tiling.root != sealed.last.root:
                raise _went_back(f"has other events up to position {sealed.last.size} than were sealed")
            return False
        await self._sign(sealed, leadership)
        return True

    async def _seal_on(self, leadership: Leadership) -> None:
        """Seals until something fails, or the log has another incarnation."""
        sealed = await self.open(leadership)
        _logger.info("sealing", origin=sealed.last.origin, size=sealed.last.size)
        while sealed.incarnation == await self._records.incarnation():
            began = self._clock()
            before = sealed.last.size
            await self.seal(sealed, leadership)
            self._well_at = self._clock()
            if sealed.last.size - before < MOST:
                await asyncio.sleep(max(0.0, self._every - (self._clock() - began)))

    def _tell(self, error: Exception, seconds: float) -> None:
        """What passes by itself is a warning, what somebody has to look at an error."""
        stands = isinstance(error, SealRefused) or seconds >= TOLD_AGAIN
        tell = _logger.error if stands else _logger.warning
        tell("the log is not sealed", reason=str(error), seconds=round(seconds))

    async def _adopt(self, leadership: Leadership) -> None:
        """Has the log say which key signs from here on, where that is another one."""
        adopt = AdoptKey(self._signer.keys[0].text)
        seen = await self._journal.models.find(AuditKeys, STREAM)
        events = decide(None if seen is None else seen.state, adopt)
        await self._journal.record(
            Decision(
                [new_event(STREAM, PROJECT, event, metadata=_ORIGIN) for event in events],
                rows=[Row("audit_keys", STREAM, PROJECT)],
                expect={STREAM: 0 if seen is None else seen.version},
            ),
            leadership,
        )

    def _require_ours(self, signed: Signed | None, incarnation: UUID) -> None:
        if signed is None:
            return
        if signed.checkpoint.origin != origin_of(incarnation):
            raise SealRefused(f"the last checkpoint is of {signed.checkpoint.origin}, not of this log")
        try:
            signed.note.signers(self._signer.keys)
        except NotSigned as error:
            raise SealRefused(
                f"the last checkpoint, of size {signed.checkpoint.size}: {error}; give the old key below the "
                "new one (audit_key takes several lines), or, where it is lost, begin anew with `batchmill "
                "log fork --reason`"
            ) from error

    async def _resumed(
        self,
        incarnation: UUID,
        tiles: TileStore,
        last: Checkpoint,
        signed_before: list[Checkpoint],
    ) -> Sealed:
        """Goes on from the tiles in storage; from the first event where these are not all there."""
        try:
            tiling, leaf = await tiles.tiling(last.size), await tiles.leaf(last.size - 1, last.size)
            for older in signed_before:
                _require_extended(older, last, await tiles.consistency(older.size, last.size))
        except TileMissing as error:
            _logger.warning("the tree is made again from the log", reason=str(error))
            return Sealed(incarnation, tiles, Tiling(), last)
        if tiling.root != last.root:
            raise SealRefused(
                f"the tiles in storage have another root than was signed of size {last.size}: they were "
                f"changed. Delete the folder audit/{incarnation}/tile to have them made again from the log"
            )
        return Sealed(incarnation, tiles, tiling, last, leaf)

    def _require_dense(self, sealed: Sealed, leaves: list[Leaf]) -> list[Leaf]:
        """Those that come after the tree; the first of them all must be the tree's last, where it has one."""
        size = sealed.tiling.size
        if size == 0:
            fresh = leaves
        elif not leaves or leaves[0].position != size:
            raise _went_back(f"has no event at position {size}, which was sealed")
        elif sealed.last_leaf is not None and leaves[0].hash != sealed.last_leaf:
            raise _went_back(f"has another event at position {size} than was sealed")
        else:
            fresh = leaves[1:]
        if fresh and fresh[-1].position != size + len(fresh):
            raise SealRefused(f"positions are missing in the log between {size} and {fresh[-1].position}")
        return fresh

    async def _add(self, sealed: Sealed, leaves: list[Leaf]) -> None:
        filled = [tile for leaf in leaves for tile in sealed.tiling.add(leaf.hash)]
        sealed.last_leaf = leaves[-1].hash
        await self._keep(sealed, filled)
        whole = {tile for tile, _ in filled}
        done = {tile for tile in sealed.partial if tile.whole in whole}
        await sealed.tiles.forget(done)
        sealed.partial -= done

    async def _sign(self, sealed: Sealed, leadership: Leadership) -> None:
        partial = sealed.tiling.partial()
        await self._keep(sealed, partial)
        sealed.partial.update(tile for tile, _ in partial)
        last, size = sealed.last, sealed.tiling.size
        checkpoint = Checkpoint(last.origin, size, sealed.tiling.root)
        _require_extended(last, checkpoint, await sealed.tiles.consistency(last.size, size))
        signed = Signed(checkpoint, await self._signer.sign(checkpoint.text))
        kept = await self._records.keep(leadership, sealed.incarnation, signed)
        if kept.checkpoint != checkpoint:
            raise _went_back(f"has other events up to position {size} than were sealed")
        sealed.last = checkpoint
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        await sealed.tiles.publish(kept, None if hour == self._hour else hour)
        self._hour = hour
        self._witnesses.tell(kept)

    async def _keep(self, sealed: Sealed, tiles: list[tuple[Tile, bytes]]) -> None:
        try:
            await sealed.tiles.keep(tiles)
        except NameTaken as error:
            raise _went_back(f"does not make the tiles that storage has ({error})") from error


def _require_extended(old: Checkpoint, new: Checkpoint, proof: list[bytes]) -> None:
    if not extends(old.root, old.size, new.root, new.size, proof):
        raise _went_back(f"of {new.size} events does not begin with the {old.size} that were sealed")


def _went_back(how: str) -> SealRefused:
    return SealRefused(
        f"the log {how}: it was restored from an older copy, or changed. After a restore, begin a new "
        "incarnation with `batchmill log fork --reason`; else `batchmill audit verify` says what was changed"
    )


def _size(signed: Signed) -> int:
    return signed.checkpoint.size
