"""Holds a log against its sealed tree, and the tree against what was signed of it.

    leaves of the log ─┬─ laid beside ─┬─ leaves in the tiles
                       │  (alignment)  │
                       │               └─ root of each checkpoint's size ── the root that was signed
                       └─ instead of a tile's leaf, where only so the root is as signed: the tile is wrong

Reads nothing and holds little: the edge of the tree, and what is wrong.
"""

import copy
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec

from events.audit.alignment import Alignment, Pair, Parting
from events.audit.defect import MOST
from events.audit.tiles import HEIGHT, Tile, Tiling


class Mark(msgspec.Struct, frozen=True):
    """That somebody has signed `root` of the first `size` events; `where` is where that was found."""

    size: int
    root: bytes
    where: str
    witness: bool = False


class Disagreement(msgspec.Struct, frozen=True):
    """A signed root that the tree does not have, and the one that it has (hex); what was signed last before
    it, by the same kind of place, and agreed."""

    mark: Mark
    root: str
    after: int


class TreeState(msgspec.Struct, frozen=True):
    """All that a check has to be begun with to go on behind `size` leaves."""

    size: int
    edge: list[tuple[int, int, int, bytes]]
    next_position: int
    agreed: int
    known: bool
    partings: list[Parting]
    witnessed: int
    disagreeing: list[Disagreement]
    wrong_tiles: list[tuple[int, int]]
    missing_tiles: list[tuple[int, int]]


class TreeCheck:
    """`add` what comes, in order; then look at `partings`, `disagreeing` and `wrong_tiles`."""

    def __init__(self, tiling: Tiling, size: int) -> None:
        """Begins behind the leaves that `tiling` has; `size` leaves were sealed."""
        self.size = size
        self.agreed = tiling.size
        """Size of the last checkpoint whose root the tree has."""
        self.witnessed = tiling.size
        """The same of the last one that a witness has."""
        self.disagreeing: list[Disagreement] = []
        self.wrong_tiles: set[tuple[int, int]] = set()
        """Level and number of tiles of which the log, and not they, has what was signed."""
        self.missing_tiles: set[tuple[int, int]] = set()
        """The same of tiles that are not there, or not whole."""
        self._alignment = Alignment(tiling.size)
        self._tree: Tiling | None = tiling
        self._by_log: Tiling | None = None
        """The tree with the log's leaves where the tiles have others, since the last checkpoint."""
        self._marks: list[Mark] = []
        self._filled: list[tuple[Tile, bytes]] = []
        self._filled_by_log: list[tuple[Tile, bytes]] = []
        self._whole: list[tuple[Tile, bytes]] = []

    @property
    def partings(self) -> list[Parting]:
        """Where the log is not what was sealed."""
        return self._alignment.partings

    @property
    def wanted(self) -> int:
        """The number, from 1, of the sealed leaf that is to be added next."""
        return self._alignment.next_sealed

    @property
    def another(self) -> bool:
        """Whether so much parts that this is another log: looking further tells nothing."""
        return len(self.partings) >= MOST

    def mark(self, marks: Iterable[Mark]) -> None:
        """Signed roots to hold the tree against. Those of sizes that have gone by are left out."""
        reached = 0 if self._tree is None else self._tree.size
        self._marks += [mark for mark in marks if mark.size > reached]
        self._marks.sort(key=lambda mark: mark.size)

    def add(
        self, rows: Sequence[tuple[int, bytes]], upto: int, sealed: Sequence[bytes | None], *, last: bool
    ) -> None:
        """Events by position and leaf, all there are up to `upto`; and the leaves that come next in the
        tiles, None where a tile is missing, `alignment.WINDOW` further than the events. `last`: there are no
        more of either."""
        self._alignment.add_rows(rows, min(upto, self.size))
        self._alignment.add_sealed(sealed)
        pairs = self._alignment.take(last=last)
        begin = 0
        while self._tree is not None and begin < len(pairs):
            end = len(pairs)
            if self._marks:
                end = min(end, begin + self._marks[0].size - self._tree.size)
            self._grow(pairs[begin:end])
            begin = end
            self._settle()

    def stray(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """Events, by position and leaf, that stand where none can have been sealed."""
        self.partings.extend([Parting(position, leaf, None, None) for position, leaf in rows])

    def take_tiles(self) -> list[tuple[Tile, bytes]]:
        """Full tiles of the levels above the leaves', as they must be; each once."""
        tiles, self._whole = self._whole, []
        return tiles

    def edge_tiles(self) -> list[tuple[Tile, bytes]]:
        """The partial ones of these levels that the whole tree ends with; none where the tree is not known
        so far."""
        if self._tree is None or self._tree.size != self.size:
            return []
        return _above(self._tree.partial())

    def state(self, next_position: int) -> TreeState | None:
        """What to go on with later; None while something is undecided."""
        settled = self._alignment.settled or self._alignment.sealed == self.size
        if not settled or self._by_log is not None or self._whole:
            return None
        tree = self._tree
        return TreeState(
            self._alignment.sealed,
            [] if tree is None else [(*tile, content) for tile, content in tree.partial()],
            next_position,
            self.agreed,
            tree is not None,
            self.partings,
            self.witnessed,
            self.disagreeing,
            sorted(self.wrong_tiles),
            sorted(self.missing_tiles),
        )

    @classmethod
    def resume(cls, state: TreeState, size: int) -> "TreeCheck":
        """Goes on from there."""
        tiling = Tiling(state.size, {Tile(*place): content for *place, content in state.edge})
        check = cls(tiling, size)
        check.agreed = state.agreed
        check.witnessed = state.witnessed
        check.disagreeing = list(state.disagreeing)
        check.wrong_tiles = set(state.wrong_tiles)
        check.missing_tiles = set(state.missing_tiles)
        check.partings.extend(state.partings)
        check._alignment.skip(state.next_position)
        if not state.known:
            check._tree = None
        return check

    def _grow(self, pairs: Sequence[Pair]) -> None:
        tree = self._tree
        assert tree is not None
        for pair in pairs:
            leaf = pair.row if pair.sealed is None else pair.sealed
            if leaf is None:
                self._tree = None
                return
            if pair.row != leaf and self._by_log is None:
                self._by_log = copy.deepcopy(tree)
                self._filled_by_log = list(self._filled)
            if self._by_log is not None:
                self._filled_by_log += _above(self._by_log.add(leaf if pair.row is None else pair.row))
            if filled := tree.add(leaf):
                self._filled += _above(filled)

    def _settle(self) -> None:
        """Where the size of checkpoints is reached: says which of the tree, the log and these is right."""
        tree = self._tree
        if tree is None or not self._marks or self._marks[0].size != tree.size:
            return
        size = tree.size
        here = [mark for mark in self._marks if mark.size == size]
        self._marks = self._marks[len(here) :]
        roots = {mark.root for mark in here}
        if tree.root not in roots and self._by_log is not None and self._by_log.root in roots:
            self._tree = tree = self._by_log
            self._filled = self._filled_by_log
            self._blame_tiles(size)
        root = tree.root
        self.disagreeing += [
            Disagreement(mark, root.hex(), self.witnessed if mark.witness else self.agreed)
            for mark in here
            if mark.root != root
        ][: MOST - len(self.disagreeing)]
        if any(mark.witness and mark.root == root for mark in here):
            self.witnessed = size
        if root in roots:
            self.agreed = size
            self._by_log = None
            self._whole += self._filled
            self._filled, self._filled_by_log = [], []

    def _blame_tiles(self, size: int) -> None:
        kept = []
        for parting in self.partings:
            there = parting.sealed_position
            if there is not None and self.agreed < there <= size and parting.row is not None:
                self.wrong_tiles.add((0, (there - 1) >> HEIGHT))
            else:
                kept.append(parting)
        self.partings[:] = kept


def _above(tiles: Iterable[tuple[Tile, bytes]]) -> list[tuple[Tile, bytes]]:
    """Those that hold nodes, not leaves."""
    return [(tile, content) for tile, content in tiles if tile.level > 0]


def around(position: int, sizes: Sequence[int]) -> tuple[int | None, int | None]:
    """The sizes of the last checkpoint that does not cover a position and of the first that does; `sizes`
    ascend."""
    at = bisect_left(sizes, position)
    return (sizes[at - 1] if at else None, sizes[at] if at < len(sizes) else None)
