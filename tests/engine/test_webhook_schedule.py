"""When a message that was not taken is sent again."""

from itertools import count, takewhile

import pytest

from engine.webhooks.schedule import SPREAD, WAITS, wait_before_next

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
