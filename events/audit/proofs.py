"""Proofs to hand out: that an event is under a signed checkpoint, and that one checkpoint extends another.

Each is whole: with the public key and the event's own bytes it can be checked offline. Hashes are hex.
"""

import msgspec

from events.audit.records import AuditRecords, LeafOf, Signed
from events.audit.tile_store import TileStore
from events.errors import NotFound
from storage.store import Store


class InclusionProof(msgspec.Struct, frozen=True):
    """That the event at `position` is leaf `position - 1` of the tree that `checkpoint` names, a signed note.

    `digest`, `stream_id` and `version` make the leaf (`leaf`); `proof` goes from it up (`tree.includes`).
    """

    position: int
    stream_id: str
    version: int
    type: str
    digest: str
    proof: tuple[str, ...]
    checkpoint: str


class ConsistencyProof(msgspec.Struct, frozen=True):
    """That the tree of `size` leaves, which `checkpoint`, a signed note, names, begins with the one of
    `old_size` (`tree.extends`)."""

    old_size: int
    size: int
    proof: tuple[str, ...]
    checkpoint: str


class Proofs:
    """Makes them from the log and from the tiles in storage. Raises `TileMissing`, and as both."""

    def __init__(self, records: AuditRecords, store: Store) -> None:
        self._records = records
        self._store = store

    async def checkpoint(self) -> Signed:
        """The newest checkpoint. Raises `NotFound` where nothing was sealed yet."""
        newest = await self._records.newest(await self._records.incarnation())
        if newest is None:
            raise NotFound("nothing of this log was sealed yet: is there a key to sign with (audit_key)?")
        return newest

    async def inclusion(self, position: int) -> InclusionProof:
        """Of the event at `position`, under the first checkpoint that covers it. Raises `NotFound` where
        there is no such event, or no such checkpoint yet."""
        leaf = await self._records.leaf_at(position)
        if leaf is None:
            raise NotFound(f"there is no event at position {position}")
        return await self.inclusion_of(leaf)

    async def inclusion_of(self, leaf: LeafOf) -> InclusionProof:
        """The same of a leaf that was read before."""
        incarnation = await self._records.incarnation()
        signed = await self._records.covering(incarnation, leaf.position)
        if signed is None:
            raise NotFound(f"no checkpoint covers position {leaf.position} yet: ask again in a few seconds")
        tiles = TileStore(self._store, incarnation)
        proof = await tiles.inclusion(leaf.position - 1, signed.checkpoint.size)
        return InclusionProof(
            leaf.position,
            leaf.stream_id,
            leaf.version,
            leaf.type,
            leaf.digest.hex(),
            tuple(hash_.hex() for hash_ in proof),
            signed.note.encode(),
        )

    async def consistency(self, old_size: int, size: int | None = None) -> ConsistencyProof:
        """That the first checkpoint of at least `size` (None: the newest) extends the tree of `old_size`.
        Raises `NotFound` where no checkpoint is so large."""
        incarnation = await self._records.incarnation()
        wanted = old_size if size is None else max(size, old_size)
        signed = await (self.checkpoint() if size is None else self._records.covering(incarnation, wanted))
        if signed is None or signed.checkpoint.size < wanted:
            raise NotFound(f"no checkpoint of this log is as large as {wanted}")
        tiles = TileStore(self._store, incarnation)
        proof = await tiles.consistency(old_size, signed.checkpoint.size)
        return ConsistencyProof(
            old_size, signed.checkpoint.size, tuple(hash_.hex() for hash_ in proof), signed.note.encode()
        )
