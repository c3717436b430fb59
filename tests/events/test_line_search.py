"""A line is found by its custom_id, however the file is written and cut."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.inputs.line_search import FoundLine, LineSearch

LONGEST = 200


def line(custom_id: str, ascii_only: bool = True) -> bytes:
    request = {"custom_id": custom_id, "method": "POST", "url": "/v1/x", "body": {"model": "m", "note": "a"}}
    return json.dumps(request, ensure_ascii=ascii_only).encode()


def search(content: bytes, custom_id: str, *cuts: int) -> FoundLine | None:
    looking = LineSearch(custom_id, LONGEST)
    edges = [0, *sorted(cuts), len(content)]
    for start, end in pairwise(edges):
        if found := looking.feed(content[start:end]):
            return found
    return looking.finish()


@given(
    st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True),
    st.sampled_from([b"\n", b"\r\n", b"\n\n \n"]),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_every_line_is_found_where_it_lies(
    custom_ids: list[str], newline: bytes, ended: bool, ascii_only: bool, data: st.DataObject
) -> None:
    lines = [line(custom_id, ascii_only) for custom_id in custom_ids]
    content = newline.join(lines) + (newline if ended else b"")
    wanted = data.draw(st.integers(0, len(lines) - 1))
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=4))
    found = search(content, custom_ids[wanted], *cuts)
    assert found is not None
    assert found.line == wanted
    assert content[found.start : found.start + found.length] == lines[wanted]
    assert found.number == content[: found.start].count(b"\n") + 1


@pytest.mark.parametrize(
    ("content", "custom_id"),
    [
        (line("a"), "b"),
        (b"", "a"),
        (b'{"note":"a"}\n["a"]\n"a"\n{"custom_id":["a"],"body":{}}\nnonsense a\n', "a"),
        (b'{"custom_id":"b","body":{"custom_id":"a"}}', "a"),
        (b'{"custom_id":"a","body":"' + b"x" * LONGEST + b'"}', "a"),
    ],
)
def test_what_is_not_there_is_not_found(content: bytes, custom_id: str) -> None:
    assert search(content, custom_id) is None


def test_escapes_make_no_other_custom_id() -> None:
    assert search(b'{"custom_id":"\\u0061\\/b","body":{}}', "a/b") == FoundLine(0, 1, 0, 35)


def test_nor_do_escapes_in_its_name() -> None:
    content = b'{"\\u0063ustom\\u005fid":"a","body":{}}'
    assert search(content, "a") == FoundLine(0, 1, 0, len(content))


def test_of_two_lines_the_first_is_found() -> None:
    assert search(line("a") + b"\n" + line("a"), "a") == FoundLine(0, 1, 0, len(line("a")))


def test_a_byte_order_mark_and_blank_lines_are_passed_over() -> None:
    content = b"\xef\xbb\xbf" + line("a") + b"\n\n\t\r\n" + line("b")
    assert search(content, "a") == FoundLine(0, 1, 3, len(line("a")))
    assert search(content, "b") == FoundLine(1, 4, 3 + len(line("a")) + 5, len(line("b")))


def test_a_line_that_is_too_long_counts_as_one() -> None:
    content = b'{"custom_id":"a","body":"' + b"x" * 3 * LONGEST + b'"}\n' + line("b")
    found = search(content, "b", 100, 300, 500)
    assert found is not None
    assert (found.line, found.number, found.start) == (1, 2, len(content) - len(line("b")))
