"""Lays the events of the log beside the leaves that were sealed, and finds where the two part.

Both come in order. Where they part, both are looked through a window ahead for the place at which they go
on together, so that one event too many or too few does not make strangers of all that come after it.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

WINDOW: Final = 2048
"""How far is looked ahead; both sides must be given so much at once, or to their ends."""
RUN: Final = 3
"""Leaves in a row that must be the same where the two go on together."""


class Parting(msgspec.Struct, frozen=True):
    """A place where the log is not what was sealed.

    `row` is the leaf that stands at `position` (None: no event does), `sealed` the one that was sealed as
    the event `sealed_position` (None: none was).
    """

    position: int | None
    row: bytes | None
    sealed_position: int | None
    sealed: bytes | None


class Pair(msgspec.Struct, frozen=True):
    """A sealed leaf (None: it is not known) and what stands in its place, in the order of sealing."""

    sealed: bytes | None
    row: bytes | None


class Alignment:
    """Takes both sides with `add_rows` and `add_sealed`, and gives what has been decided with `take`."""

    def __init__(self, size: int = 0) -> None:
        """Begins behind `size` events that are as they were sealed."""
        self.partings: list[Parting] = []
        self._positions: list[int] = []
        self._rows: list[bytes | None] = []
        self._sealed: list[bytes | None] = []
        self._next_position = size + 1
        self._next_sealed = size + 1

    @property
    def settled(self) -> bool:
        """Whether no event waits to be decided on."""
        return not self._rows

    @property
    def sealed(self) -> int:
        """How many sealed leaves have been decided on."""
        return self._next_sealed - 1

    @property
    def next_sealed(self) -> int:
        """The number of the sealed leaf that is to be added next."""
        return self._next_sealed + len(self._sealed)

    def add_rows(self, rows: Sequence[tuple[int, bytes]], upto: int) -> None:
        """Events by position and leaf, ascending; positions that are left out up to `upto` have none."""
        for position, leaf in rows:
            self._miss(position)
            self._positions.append(position)
            self._rows.append(leaf)
            self._next_position = position + 1
        self._miss(upto + 1)

    def add_sealed(self, leaves: Sequence[bytes | None]) -> None:
        """The next leaves that were sealed."""
        self._sealed += leaves

    def skip(self, position: int) -> None:
        """Before the first event is added: the next one is expected at `position`."""
        self._next_position = position

    def take(self, *, last: bool) -> list[Pair]:
        """What is decided by now, `last`: all of it. Events behind the last sealed one part with nothing."""
        pairs: list[Pair] = []
        while self._rows and self._sealed:
            same = self._same()
            pairs += [Pair(row, row) for row in self._rows[:same]]
            self._drop(same, same)
            if not self._rows or not self._sealed:
                break
            if not last and min(len(self._rows), len(self._sealed)) < WINDOW:
                return pairs
            pairs += self._part(*self._meeting())
        if last:
            pairs += self._part(0, len(self._sealed))
            self._leave()
        return pairs

    def _same(self) -> int:
        """How many leaves from here on are the same."""
        both = min(len(self._rows), len(self._sealed))
        if self._rows[:both] == self._sealed[:both] and None not in self._rows[:both]:
            return both
        for at in range(both):
            row, sealed = self._rows[at], self._sealed[at]
            if row is None or (sealed is not None and row != sealed):
                return at
        return both

    def _meeting(self) -> tuple[int, int]:
        """How many rows and sealed leaves to pass over until the two go on together."""
        rows, sealed = self._rows[:WINDOW], self._sealed[:WINDOW]
        where = {leaf: at for at, leaf in enumerate(sealed) if leaf is not None}
        best = (min(len(rows), len(sealed)),) * 2
        for at, row in enumerate(rows):
            if at >= sum(best):
                break
            for there in {at, where.get(row, -1) if row is not None else -1}:
                if 0 <= there < len(sealed) and self._goes_on(rows, sealed, at, there):
                    best = min(best, (at, there), key=lambda way: (sum(way), abs(way[0] - way[1])))
        return best

    @staticmethod
    def _goes_on(rows: Sequence[bytes | None], sealed: Sequence[bytes | None], at: int, there: int) -> bool:
        run = list(zip(rows[at : at + RUN], sealed[there : there + RUN], strict=False))
        return bool(run) and all(row is not None and leaf in (row, None) for row, leaf in run)

    def _part(self, rows: int, sealed: int) -> list[Pair]:
        """Takes rows and sealed leaves that do not go together; side by side as far as both go."""
        pairs = []
        for at in range(max(rows, sealed)):
            position = self._positions[at] if at < rows else None
            row = self._rows[at] if at < rows else None
            leaf = self._sealed[at] if at < sealed else None
            if at < sealed:
                pairs.append(Pair(leaf, row))
            if row != leaf or (row is None and at < sealed):
                there = self._next_sealed + at if at < sealed else None
                self.partings.append(Parting(position if row is not None else None, row, there, leaf))
        self._drop(rows, sealed)
        return pairs

    def _leave(self) -> None:
        """Passes over events behind all that was sealed; those where one was, or that were one, part."""
        gone = {parting.sealed for parting in self.partings}
        for position, row in zip(self._positions, self._rows, strict=True):
            if row is not None and (position < self._next_sealed or row in gone):
                self.partings.append(Parting(position, row, None, None))
        self._drop(len(self._rows), 0)

    def _drop(self, rows: int, sealed: int) -> None:
        del self._positions[:rows], self._rows[:rows], self._sealed[:sealed]
        self._next_sealed += sealed

    def _miss(self, position: int) -> None:
        """Notes that no event stands before `position`."""
        for missing in range(self._next_position, position):
            self._positions.append(missing)
            self._rows.append(None)
        self._next_position = max(self._next_position, position)
