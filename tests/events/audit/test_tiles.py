"""Tiles: their names, their arithmetic, and that a tree can be read back from them."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.audit.proof import Node, consistency, inclusion, prove, whole_trees
from events.audit.tiles import TILE_BYTES, Tile, Tiling, edge, node_in, split, tile_at, tile_of, tiles_of
from events.audit.tree import Frontier, extends, fold, includes, leaf_hash

MANY: Final = 66_000
"""Leaves of a tree with tiles on three levels."""


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(1, 1000), "tile/1/x001/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(2, 7, 1), "tile/2/007.p/1"),
        (Tile(0, 1234067, 255), "tile/0/x001/x234/067.p/255"),
    ],
)
def test_a_tile_has_the_name_that_the_specification_gives_it(tile: Tile, path: str) -> None:
    assert tile.path == path


def test_the_tree_of_the_specification_has_these_tiles() -> None:
    # 273 full and a partial one of width 112; a full and a partial one of width 17; a partial one of width 1.
    assert edge(70_000) == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert tile_at(0, 272, 70_000).full
    assert tile_at(1, 0, 70_000).full
    assert edge(256) == [Tile(1, 0, 1)]
    assert edge(0) == []
    with pytest.raises(ValueError, match="has no tile 274 at level 0"):
        tile_at(0, 274, 70_000)


class Kept:
    """A tree of `MANY` leaves as a store would hold it, and its root after each size that was asked for."""

    def __init__(self, sizes: set[int]) -> None:
        self.tiles: dict[Tile, bytes] = {}
        self.roots: dict[int, bytes] = {}
        tiling, frontier = Tiling(), Frontier()
        for number in range(MANY):
            leaf = leaf_hash(b"%d" % number)
            self.tiles |= dict(tiling.add(leaf))
            frontier.add(leaf)
            if tiling.size in sizes:
                assert tiling.root == frontier.root
                self.roots[tiling.size] = tiling.root
                self.tiles |= dict(tiling.partial())

    def node(self, node: Node, size: int) -> bytes:
        return node_in(self.tiles[tile_of(node, size)], node)


SIZES: Final = [1, 2, 255, 256, 257, 511, 513, 65_280, 65_535, 65_536, 65_537, 65_792, MANY]


@pytest.fixture(scope="module")
def kept() -> Kept:
    return Kept(set(SIZES))


def test_full_tiles_are_256_hashes_and_are_all_there(kept: Kept) -> None:
    assert all(len(content) == tile.width * 32 for tile, content in kept.tiles.items())
    assert sum(tile.full for tile in kept.tiles) == MANY // 256 + 1
    assert TILE_BYTES == 8192


@pytest.mark.parametrize("size", SIZES)
def test_the_root_is_read_back_from_the_tiles(kept: Kept, size: int) -> None:
    assert fold([kept.node(node, size) for node in whole_trees(0, size)]) == kept.roots[size]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SIZES), st.data())
def test_proofs_are_made_of_few_tiles_and_hold(kept: Kept, size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    parts = inclusion(index, size)
    assert len(tiles_of(parts, size)) <= 6
    proof = prove(parts, lambda node: kept.node(node, size))
    assert includes(kept.roots[size], size, index, leaf_hash(b"%d" % index), proof)
    old = data.draw(st.sampled_from([one for one in SIZES if one <= size]))
    proof = prove(consistency(old, size), lambda node: kept.node(node, size))
    assert extends(kept.roots[old], old, kept.roots[size], size, proof)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 800), st.integers(0, 300))
def test_a_tiling_goes_on_from_what_was_kept_of_it(before: int, more: int) -> None:
    tiling = Tiling()
    for number in range(before):
        tiling.add(leaf_hash(b"%d" % number))
    again = Tiling(before, dict(tiling.partial()))
    assert again.root == tiling.root
    for number in range(more):
        assert again.add(leaf_hash(b"more %d" % number)) == tiling.add(leaf_hash(b"more %d" % number))
    assert (again.root, again.partial()) == (tiling.root, tiling.partial())


def test_a_tile_that_was_cut_off_is_told() -> None:
    tiling = Tiling()
    for number in range(5):
        tiling.add(leaf_hash(b"%d" % number))
    [(tile, content)] = tiling.partial()
    assert len(split(content)) == tile.width == 5
    with pytest.raises(ValueError, match="a tile of 128 bytes has no node 4 of level 0"):
        node_in(content[:-32], Node(0, 4))
