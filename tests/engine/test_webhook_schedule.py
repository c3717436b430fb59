"""When a message that was not taken is sent again."""

from itertools import count, takewhile

import pytest

from engine.webhooks.schedule import SPREAD, WAITS, no_sooner, wait_before_next
from engine.webhooks.sender import FAILING

DAY = 86_400.0


def waits(chance: float) -> list[float]:
    """Every wait, for the same chance each time."""
    found = (wait_before_next(attempts, chance) for attempts in count(1))
    return [wait for wait in takewhile(lambda wait: wait is not None, found) if wait is not None]


def test_ten_attempts_are_made_over_three_days() -> None:
    assert waits(0.0) == list(WAITS)
    assert len(WAITS) + 1 == 10
    assert 3 * DAY < sum(WAITS) < 4 * DAY


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_chance_spreads_what_failed_together_and_shortens_nothing(chance: float) -> None:
    pairs = list(zip(waits(chance), WAITS, strict=True))
    assert all(wait <= spread <= wait * (1 + SPREAD) for spread, wait in pairs)
    assert len(set(waits(chance))) == len(WAITS)


@pytest.mark.parametrize(
    ("wait", "asked", "waits"), [(60, None, 60), (60, 5, 60), (60, 3600, 3600), (60, 10 * DAY, DAY)]
)
def test_a_receiver_may_put_the_next_attempt_off_by_a_day(
    wait: float, asked: float | None, waits: float
) -> None:
    assert no_sooner(wait, asked) == waits


def test_who_is_given_up_was_tried_for_as_long_as_it_takes_to_be_disabled() -> None:
    assert sum(waits(0.0)) > FAILING
