"""The tiles of one incarnation's tree in storage, and the proofs that are made of them.

    audit/<incarnation>/checkpoint                  the newest checkpoint, replaced as it grows
    audit/<incarnation>/checkpoints/<hour>          the first of each hour that has one, for good
    audit/<incarnation>/tile/<level>/<number>       a full tile, for good
    audit/<incarnation>/tile/….p/<width>            a partial one, until the full one is there

Served as static files, the folder of an incarnation is a log as C2SP tlog-tiles has it, but for the entries:
these follow from the events themselves (`leaf`).
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from events.audit.proof import Node, Part, consistency, inclusion, prove, whole_trees
from events.audit.records import Signed, parse_signed
from events.audit.tiles import Tile, Tiling, edge, node_in, tile_of, tiles_of
from events.audit.tree import HASH_BYTES
from events.errors import BatchmillError
from storage.store import NameTaken, ObjectMissing, Store

AT_ONCE: Final = 8
"""Most tiles under way at once."""
NOTE_BYTES: Final = 1 << 20

Result = TypeVar("Result")


class TileMissing(BatchmillError):
    """A tile of the tree is not in storage, or not whole; the log can make it again."""


class TileStore:
    """Tiles and checkpoints of one incarnation. Every method raises `StorageUnavailable`; those that read
    tiles raise `TileMissing`.

    Sizes are those of checkpoints: of others the partial tiles were never there.
    """

    def __init__(self, store: Store, incarnation: UUID) -> None:
        self._store = store
        self._prefix = f"audit/{incarnation}"
        self._room = asyncio.Semaphore(AT_ONCE)

    async def keep(self, tiles: Iterable[tuple[Tile, bytes]]) -> None:
        """Keeps tiles for good. Raises `NameTaken` where one is there with other bytes, and `StorageFull`."""
        await _together([self._keep(tile, content) for tile, content in tiles])

    async def forget(self, tiles: Iterable[Tile]) -> None:
        """Deletes partial tiles whose full ones are there."""
        for tile in tiles:
            if not tile.full:
                await self._store.delete(f"{self._prefix}/{tile.path}")

    async def root(self, size: int) -> bytes:
        """The root of the tree of this size."""
        [root] = await self._proven([whole_trees(0, size)], size)
        return root

    async def leaf(self, index: int, size: int) -> bytes:
        """The hash of a leaf of the tree of this size."""
        [hash_] = await self._proven([(Node(0, index),)], size)
        return hash_

    async def inclusion(self, index: int, size: int) -> list[bytes]:
        """The proof that the leaf `index` is in the tree of this size; see `tree.includes`."""
        return await self._proven(inclusion(index, size), size)

    async def consistency(self, old_size: int, size: int) -> list[bytes]:
        """The proof that the tree of `size` begins with that of `old_size`; see `tree.extends`."""
        return await self._proven(consistency(old_size, size), size)

    async def hashes(self, nodes: Sequence[Node], size: int) -> list[bytes]:
        """The hashes of whole trees in the tree of this size. Holds the tiles of all of them meanwhile."""
        return await self._proven([(node,) for node in nodes], size)

    async def tiling(self, size: int) -> Tiling:
        """What goes on with the tree of this size."""
        tiles = edge(size)
        contents = await self._read(tiles)
        return Tiling(size, dict(zip(tiles, contents, strict=True)))

    async def read(self, tile: Tile) -> bytes:
        """The bytes of a tile; of a partial one that is gone, the beginning of the full one."""
        return await self._tile(tile)

    async def newest(self) -> Signed | None:
        """The checkpoint that was stored last. Raises `MalformedNote` where it was damaged."""
        try:
            encoded = await self._store.read(f"{self._prefix}/checkpoint", 0, NOTE_BYTES + 1)
        except ObjectMissing:
            return None
        return parse_signed(encoded)

    async def publish(self, signed: Signed, hour: datetime | None = None) -> None:
        """Stores a checkpoint as the newest; as the first of an `hour` (in UTC) as well, and for good, unless
        another one is that."""
        encoded = signed.note.encode().encode()
        if hour is not None:
            with suppress(NameTaken):
                await self._store.keep(f"{self._prefix}/{_of_hour(hour)}", encoded)
        await self._store.replace(f"{self._prefix}/checkpoint", encoded)

    async def first_of(self, hours: Sequence[datetime]) -> list[tuple[str, bytes]]:
        """The checkpoints that were kept as the first of these hours, encoded, each with its name; few hours
        have none but those in which nothing happened."""
        found = await _together([self._checkpoint(_of_hour(hour)) for hour in hours])
        return [(name, encoded) for name, encoded in found if encoded]

    async def _checkpoint(self, name: str) -> tuple[str, bytes]:
        try:
            async with self._room:
                return name, await self._store.read(f"{self._prefix}/{name}", 0, NOTE_BYTES + 1)
        except ObjectMissing:
            return name, b""

    async def _keep(self, tile: Tile, content: bytes) -> None:
        async with self._room:
            await self._store.keep(f"{self._prefix}/{tile.path}", content)

    async def _proven(self, parts: Sequence[Part], size: int) -> list[bytes]:
        tiles = list(tiles_of(parts, size))
        contents = dict(zip(tiles, await self._read(tiles), strict=True))
        return prove(parts, lambda node: node_in(contents[tile_of(node, size)], node))

    async def _read(self, tiles: Sequence[Tile]) -> list[bytes]:
        return await _together([self._tile(tile) for tile in tiles])

    async def _tile(self, tile: Tile) -> bytes:
        """The bytes of a tile; of a partial one that is gone, the beginning of the full one."""
        wanted = tile.width * HASH_BYTES
        content = b""
        for kept in dict.fromkeys((tile, tile.whole)):
            try:
                async with self._room:
                    content = await self._store.read(f"{self._prefix}/{kept.path}", 0, wanted)
                break
            except ObjectMissing:
                continue
        if len(content) != wanted:
            raise TileMissing(f"{self._prefix}/{tile.path} is not in storage, or not whole")
        return content


def _of_hour(hour: datetime) -> str:
    return f"checkpoints/{hour:%Y%m%dT%H}"


async def _together(jobs: Sequence[Coroutine[None, None, Result]]) -> list[Result]:
    """What all of them return. When one fails the others are ended, and then it raises as that one."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
