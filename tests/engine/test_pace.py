"""What a lane keeps queued follows from how long its lines take."""

from engine.pace import MOST, Pace


def pace_of(seconds: float, slots: int = 64) -> Pace:
    pace = Pace(slots)
    pace.took(seconds)
    return pace


def test_while_nothing_is_known_a_line_is_kept_for_each_slot() -> None:
    assert Pace(64).ahead == 64


def test_short_lines_are_queued_up_to_a_bound() -> None:
    assert pace_of(0.0).ahead == pace_of(0.001).ahead == MOST * 64


def test_lines_as_long_as_a_claim_want_one_for_each_slot() -> None:
    assert pace_of(0.05).ahead == 64


def test_of_long_lines_one_is_kept() -> None:
    assert pace_of(60.0).ahead == 1


def test_the_mean_follows_what_changes() -> None:
    pace = pace_of(0.001)
    for _ in range(100):
        pace.took(2.0)
    assert pace.ahead < 4
