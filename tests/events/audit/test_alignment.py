"""Where a log parts with what was sealed: everything that differs is told, and nothing else."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from events.audit import alignment
from events.audit.alignment import Alignment, Pair

Rows = list[tuple[int, bytes]]


def leaf(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


def sealed_of(size: int) -> list[bytes | None]:
    return [leaf(number) for number in range(1, size + 1)]


def laid(rows: Rows, sealed: list[bytes | None], page: int) -> tuple[Alignment, list[Pair]]:
    """Fed page by page, what was sealed a window ahead, as whoever verifies does."""
    align = Alignment()
    pairs: list[Pair] = []
    fed = 0
    for begin in range(0, len(rows), page):
        part = rows[begin : begin + page]
        ahead = min(len(sealed), part[-1][0] + alignment.WINDOW + page)
        align.add_rows(part, min(part[-1][0], len(sealed)))
        align.add_sealed(sealed[fed:ahead])
        fed = max(fed, ahead)
        pairs += align.take(last=False)
    align.add_sealed(sealed[fed:])
    return align, pairs + align.take(last=True)


def test_a_log_as_it_was_sealed_parts_with_nothing() -> None:
    sealed = sealed_of(10_000)
    rows = [(number, leaf(number)) for number in range(1, 10_051)]
    align, pairs = laid(rows, sealed, 512)
    assert align.partings == []
    assert [pair.sealed for pair in pairs] == sealed


def test_one_row_too_many_far_from_the_end_parts_with_nothing_but_itself() -> None:
    rows = [(number, leaf(number)) for number in range(1, 300)]
    rows += [(300, leaf(0))] + [(number + 1, leaf(number)) for number in range(300, 9_001)]
    align, pairs = laid(rows, sealed_of(9_000), 512)
    assert [(one.position, one.row, one.sealed) for one in align.partings] == [(300, leaf(0), None)]
    assert len(pairs) == 9_000


def test_leaves_of_a_missing_tile_part_with_nothing_but_missing_rows() -> None:
    sealed: list[bytes | None] = [*sealed_of(256), *([None] * 256), *(leaf(n) for n in range(513, 600))]
    rows = [(number, leaf(number)) for number in range(1, 600) if number != 300]
    align, pairs = laid(rows, sealed, 100)
    assert [(one.sealed_position, one.row) for one in align.partings] == [(300, None)]
    assert pairs[299] == Pair(None, None)
    assert pairs[300] == Pair(leaf(301), leaf(301))


def test_what_stands_in_its_place_between_two_that_were_exchanged_does_not_part() -> None:
    rows = [(number, leaf({60: 63, 63: 60}.get(number, number))) for number in range(1, 120)]
    align, pairs = laid(rows, sealed_of(112), 50)
    assert [one.position for one in align.partings] == [60, 63]
    assert len(pairs) == 112


@st.composite
def edited(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    """A log of some size after a few edits: deletions and insertions with all later ones moved, changes and
    exchanges."""
    size = draw(st.integers(1, 60))
    rows = [leaf(number) for number in range(1, size + 1)]
    strange = 1_000
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(rows) - 1)))
        strange += 1
        match draw(st.sampled_from(("delete", "insert", "change", "exchange"))):
            case "delete" if rows:
                del rows[at]
            case "insert":
                rows.insert(at, leaf(strange))
            case "change" if rows:
                rows[at] = leaf(strange)
            case "exchange" if rows:
                other = draw(st.integers(0, len(rows) - 1))
                rows[at], rows[other] = rows[other], rows[at]
    return size, rows


@given(edited(), st.integers(1, 70))
def test_whatever_was_done_every_strange_row_and_every_missing_leaf_is_told(
    log: tuple[int, list[bytes]], page: int
) -> None:
    size, rows = log
    sealed = sealed_of(size)
    align, pairs = laid([(at, row) for at, row in enumerate(rows, 1)], sealed, page)
    assert [pair.sealed for pair in pairs] == sealed
    told_rows = {one.row for one in align.partings if one.row is not None}
    told_sealed = {one.sealed for one in align.partings if one.sealed is not None}
    missing = set(sealed) - set(rows)
    assert missing <= told_sealed
    assert {row for row in rows[:size] if row not in sealed} <= told_rows
    # What is told of both sides has moved; nothing is told that stands in its order.
    assert told_sealed - missing <= told_rows
    assert told_sealed - missing <= set(rows)
