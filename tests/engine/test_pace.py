"""What a worker takes in hand follows from how long its lines take, and how near the end of a batch is."""

from hypothesis import given
from hypothesis import strategies as st

from engine.pace import LONG, MOST, Pace

SLOTS = 64


def pace_of(seconds: float, slots: int = SLOTS) -> Pace:
    pace = Pace(slots)
    pace.took(seconds)
    return pace


def test_nothing_is_queued_while_nothing_is_known() -> None:
    assert Pace(SLOTS).ahead == 0


def test_short_lines_are_queued_up_to_a_bound() -> None:
    assert pace_of(0.0).ahead == pace_of(0.001).ahead == MOST * SLOTS


def test_lines_as_long_as_a_claim_want_one_for_each_slot() -> None:
    assert pace_of(0.05).ahead == SLOTS


def test_no_long_line_waits_for_a_slot_here() -> None:
    assert pace_of(LONG).ahead == pace_of(60.0).ahead == 0


def test_the_mean_follows_what_changes() -> None:
    pace = pace_of(0.001)
    for _ in range(100):
        pace.took(2.0)
    assert pace.ahead == 0


def test_a_large_chunk_is_taken_whole_as_soon_as_its_first_line_has_a_place() -> None:
    pace = pace_of(0.1)
    assert pace.part(200, free=1) == pace.part(200, free=1 - pace.ahead) == 200
    assert pace.part(200, free=-pace.ahead) == 0


def test_of_a_small_chunk_no_more_is_taken_than_there_are_slots_free() -> None:
    pace = pace_of(0.1)
    assert [pace.part(10, free) for free in (64, 10, 3, 0, -5)] == [10, 10, 3, 0, 0]


def test_a_small_chunk_of_short_lines_is_not_worth_sharing() -> None:
    assert pace_of(0.001).part(10, free=-SLOTS) == 10


@given(st.floats(0.0, 1e4), st.integers(1, 256), st.integers(1, 300), st.integers(-3000, 256))
def test_a_part_is_a_part_and_a_free_slot_takes_one(
    seconds: float, slots: int, lines: int, free: int
) -> None:
    part = pace_of(seconds, slots).part(lines, min(free, slots))
    assert 0 <= part <= lines
    assert part or free <= 0
