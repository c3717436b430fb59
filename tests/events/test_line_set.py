"""A set of lines is a set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.outcomes.line_set import LineSet


@given(st.integers(0, 100).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, max(0, n - 1))))))
def test_it_is_the_set_of_what_was_put_in(case: tuple[int, set[int]]) -> None:
    total, lines = case
    lines = {line for line in lines if line < total}
    made = LineSet(total, lines)
    assert list(made) == sorted(lines)
    assert len(made) == len(lines)
    assert list(made.missing()) == [line for line in range(total) if line not in lines]
    assert [line in made for line in range(total)] == [line in lines for line in range(total)]


def test_a_line_past_the_end_is_refused() -> None:
    with pytest.raises(IndexError):
        LineSet(8).update([8])
