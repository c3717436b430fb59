"""How the number of sends under way follows what the upstream bears."""

from hypothesis import given
from hypothesis import strategies as st

from engine.concurrency import ConcurrencyLimit


def test_it_starts_at_the_cap_and_stays_there_while_all_is_well() -> None:
    limit = ConcurrencyLimit(64)
    for second in range(10):
        limit.ended(second, second + 1, congested=False)
    assert limit.limit == 64


def test_many_failures_of_one_round_trip_halve_once() -> None:
    limit = ConcurrencyLimit(64)
    for _ in range(64):
        limit.ended(0.0, 1.0, congested=True)
    assert limit.limit == 32


def test_each_round_trip_that_fails_halves_again_down_to_one() -> None:
    limit = ConcurrencyLimit(64)
    seen = []
    for second in range(8):
        limit.ended(second, second + 1, congested=True)
        seen.append(limit.limit)
    assert seen == [32, 16, 8, 4, 2, 1, 1, 1]


def test_a_clean_round_trip_adds_one() -> None:
    limit = ConcurrencyLimit(64)
    limit.ended(0.0, 1.0, congested=True)
    for _ in range(32):
        limit.ended(1.0, 2.0, congested=False)
    assert limit.limit == 33
    limit.ended(2.0, 3.0, congested=False)
    assert limit.limit == 34


def test_what_was_sent_before_a_change_says_nothing_about_it() -> None:
    limit = ConcurrencyLimit(64)
    limit.ended(0.5, 1.0, congested=True)
    limit.ended(0.6, 1.1, congested=True)
    limit.ended(0.7, 1.2, congested=False)
    assert limit.limit == 32


def test_a_slow_failure_is_heard_among_quick_successes() -> None:
    limit = ConcurrencyLimit(64)
    limit.ended(0.0, 1.0, congested=True)
    for tenth in range(10, 100):
        limit.ended(tenth / 10, tenth / 10 + 0.1, congested=False)
    grown = limit.limit
    limit.ended(1.0, 11.0, congested=True)
    assert limit.limit == grown // 2


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10), st.booleans()), max_size=200),
)
def test_the_limit_stays_between_one_and_the_cap(cap: int, ends: list[tuple[float, float, bool]]) -> None:
    limit = ConcurrencyLimit(cap)
    now = 0.0
    for pause, took, congested in ends:
        now += pause
        before = limit.limit
        limit.ended(now - took, now, congested=congested)
        assert 1 <= limit.limit <= cap
        assert limit.limit in (before, before + 1, max(1, before // 2))
