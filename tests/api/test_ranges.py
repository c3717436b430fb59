"""Which bytes a Range header asks for: the pure part."""

from hypothesis import given
from hypothesis import strategies as st

from api.files.ranges import Span, Unsatisfiable, asked_span


def spans(header: str, size: int) -> Span | str | None:
    try:
        return asked_span(header, None, size, '"x"')
    except Unsatisfiable:
        return "unsatisfiable"


@given(first=st.integers(0, 2000), last=st.integers(0, 2000), size=st.integers(0, 1000))
def test_a_closed_range_is_the_part_of_it_that_exists(first: int, last: int, size: int) -> None:
    wanted = range(first, last + 1)
    there = [n for n in wanted if n < size]
    expected = "unsatisfiable" if not there else Span(there[0], there[-1] + 1)
    assert spans(f"bytes={first}-{last}", size) == (None if last < first else expected)


@given(length=st.integers(0, 2000), size=st.integers(0, 1000))
def test_a_suffix_is_the_end(length: int, size: int) -> None:
    there = range(size)[-length:] if length else range(0)
    assert spans(f"bytes=-{length}", size) == (Span(there.start, there.stop) if there else "unsatisfiable")


@given(header=st.text(max_size=30), size=st.integers(0, 1000))
def test_no_header_breaks_it_and_no_span_leaves_the_file(header: str, size: int) -> None:
    for text in (header, f"bytes={header}"):
        span = spans(text, size)
        assert not isinstance(span, Span) or 0 <= span.start < span.end <= size
