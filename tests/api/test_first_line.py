"""Whether a file is JSONL is seen the same way however it is cut into pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.batches.first_line import FirstLine


def is_jsonl(*pieces: bytes) -> bool:
    first_line = FirstLine()
    for piece in pieces:
        first_line.see(piece)
    return first_line.is_jsonl()


@pytest.mark.parametrize(
    "content", [b"{}", b"\n\n{}\nx", b"\xef\xbb\xbf\r\n [1]\r\n", b" \n", b"\n", b'"\xff"']
)
def test_jsonl(content: bytes) -> None:
    assert is_jsonl(content)


@pytest.mark.parametrize("content", [b"", b"x", b"\n{\n}", b"{}{}", b"\x00", b"[" * (1 << 20)])
def test_no_jsonl(content: bytes) -> None:
    assert not is_jsonl(content)


@given(
    st.lists(st.sampled_from([b"\n", b" ", b"{}", b"x", b"\xef\xbb\xbf", b"\r", b"1"]), max_size=8), st.data()
)
def test_the_cut_does_not_matter(tokens: list[bytes], data: st.DataObject) -> None:
    content = b"".join(tokens)
    cut = data.draw(st.integers(0, len(content)))
    assert is_jsonl(content[:cut], content[cut:]) == is_jsonl(content)


def test_a_long_line_is_judged_by_its_beginning() -> None:
    assert is_jsonl(b"{", *[b"x" * 65536] * 20)
    assert not is_jsonl(b"x", *[b"x" * 65536] * 20)
