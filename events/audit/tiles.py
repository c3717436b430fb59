"""The tree cut into tiles of 256 hashes, as C2SP tlog-tiles has it: names, arithmetic, and their making.

A tile of level `l` holds hashes of whole trees over `256**l` leaves each; level 0 holds leaf hashes. A full
tile never changes and makes one hash of the level above. A tree whose size is no multiple has at the right
of a level a partial tile, of the hashes so far.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from events.audit.proof import Node, Part, whole_trees
from events.audit.tree import HASH_BYTES, fold, node_hash

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
TILE_BYTES: Final = WIDTH * HASH_BYTES


class Tile(NamedTuple):
    """The tile `number` of a level, of which `width` hashes are there."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def full(self) -> bool:
        """Whether it will never grow."""
        return self.width == WIDTH

    @property
    def whole(self) -> "Tile":
        """The full tile at this place."""
        return Tile(self.level, self.number)

    @property
    def path(self) -> str:
        """Its name below the log's prefix: `tile/0/x001/x234/067`, and `.p/<width>` for a partial one."""
        digits = str(self.number)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        name = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
        return f"tile/{self.level}/{name}" + ("" if self.full else f".p/{self.width}")


def tile_at(level: int, number: int, size: int) -> Tile:
    """The tile at this place in a tree of `size`. Raises `ValueError` where it would be empty."""
    width = min(WIDTH, (size >> HEIGHT * level) - number * WIDTH)
    if width <= 0:
        raise ValueError(f"a tree of {size} has no tile {number} at level {level}")
    return Tile(level, number, width)


def tile_of(node: Node, size: int) -> Tile:
    """The tile of a tree of `size` that has what makes this node."""
    level, above = divmod(node.level, HEIGHT)
    return tile_at(level, node.number << above >> HEIGHT, size)


def node_in(tile: bytes, node: Node) -> bytes:
    """The hash of a node from its tile's bytes. Raises `ValueError` where the tile is too short for it."""
    above = node.level % HEIGHT
    first = (node.number << above) % WIDTH
    hashes = split(tile[first * HASH_BYTES : (first + (1 << above)) * HASH_BYTES])
    if len(hashes) < 1 << above:
        raise ValueError(f"a tile of {len(tile)} bytes has no node {node.number} of level {node.level}")
    return _top(hashes)


def split(tile: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]


def tiles_of(parts: Iterable[Part], size: int) -> set[Tile]:
    """The tiles of a tree of `size` that hold all nodes of these parts."""
    return {tile_of(node, size) for part in parts for node in part}


def edge(size: int) -> list[Tile]:
    """The partial tiles of a tree of `size`, from level 0 up: what its next leaves go into."""
    tiles = []
    level = 0
    while count := size >> HEIGHT * level:
        if count % WIDTH:
            tiles.append(Tile(level, count >> HEIGHT, count % WIDTH))
        level += 1
    return tiles


class Tiling:
    """Makes the tiles of a growing tree. Holds less than one tile of each level.

    `edge` has the bytes of the partial tiles (see the function `edge`) that a tree of `size` ends with.
    """

    def __init__(self, size: int = 0, edge: Mapping[Tile, bytes] | None = None) -> None:
        self.size = size
        self._open: list[bytearray] = [bytearray() for _ in range(-(-size.bit_length() // HEIGHT))]
        for tile, content in (edge or {}).items():
            self._open[tile.level] += content

    def add(self, leaf: bytes) -> list[tuple[Tile, bytes]]:
        """One more leaf, as its hash; the tiles that are full with it."""
        self.size += 1
        filled: list[tuple[Tile, bytes]] = []
        level, hash_ = 0, leaf
        while True:
            if level == len(self._open):
                self._open.append(bytearray())
            tile = self._open[level]
            tile += hash_
            if len(tile) < TILE_BYTES:
                return filled
            content = bytes(tile)
            tile.clear()
            filled.append((Tile(level, (self.size >> HEIGHT * (level + 1)) - 1), content))
            level, hash_ = level + 1, _top(split(content))

    def partial(self) -> list[tuple[Tile, bytes]]:
        """The tiles at the edge that are not full, as they are now."""
        return [(tile, bytes(self._open[tile.level])) for tile in edge(self.size)]

    @property
    def root(self) -> bytes:
        """The root of the tree so far."""
        return fold([self._node(node) for node in whole_trees(0, self.size)])

    def _node(self, node: Node) -> bytes:
        return node_in(bytes(self._open[node.level // HEIGHT]), node)


def _top(hashes: Sequence[bytes]) -> bytes:
    """The hash of the whole tree over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]
