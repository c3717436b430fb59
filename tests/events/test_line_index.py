"""What is written to the index of lines is what is read from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.inputs.line_index import (
    LINES_PER_BLOCK,
    BadIndex,
    BlockWriter,
    LineSpan,
    block_of,
    decode_block,
    line_digest,
)
from events.outcomes.lines import pack_block


@st.composite
def spans(draw: st.DrawFn) -> list[LineSpan]:
    sizes = st.integers(0, 300) | st.integers(0, 2**40)
    start, number, found = draw(sizes), draw(st.integers(1, 2**33)), []
    for _ in range(draw(st.integers(1, 40))):
        end = start + draw(sizes)
        found.append(LineSpan(start, end, draw(st.integers(0, 2**32 - 1)), number))
        start = end + draw(sizes)
        number += 1 + draw(st.just(0) | st.integers(0, 1000))
    return found


def encode_block(first_line: int, lines: list[LineSpan]) -> bytes:
    block = BlockWriter(first_line)
    for start, end, digest, number in lines:
        block.add(start, end - start, digest, number)
    return block.encode()


@given(st.integers(0, 2**40), spans())
def test_a_block_reads_as_it_was_written(first_line: int, lines: list[LineSpan]) -> None:
    block = decode_block(encode_block(first_line, lines))
    assert block.lines == range(first_line, first_line + len(lines))
    assert [block.span(line) for line in block.lines] == lines


def full_block() -> bytes:
    return encode_block(
        LINES_PER_BLOCK,
        [
            LineSpan(at * 1001, at * 1001 + 1000 - at % 400, line_digest(b"%d" % at), at + 1)
            for at in range(LINES_PER_BLOCK)
        ],
    )


def test_a_line_of_a_thousand_bytes_costs_eight_and_seven_when_it_is_compressed() -> None:
    assert len(pack_block([full_block()])) <= 7 * LINES_PER_BLOCK


def test_a_line_is_found_in_its_block_and_in_no_other() -> None:
    block = decode_block(full_block())
    assert block_of(LINES_PER_BLOCK - 1) == 0
    assert block_of(LINES_PER_BLOCK) == 1
    assert block.span(LINES_PER_BLOCK).start == 0
    for line in (LINES_PER_BLOCK - 1, 2 * LINES_PER_BLOCK, -1):
        with pytest.raises(IndexError, match=f"line {line} is not among"):
            block.span(line)


@pytest.mark.parametrize("second", [LineSpan(0, 5, 0, 2), LineSpan(19, 25, 0, 2), LineSpan(20, 25, 0, 1)])
def test_lines_out_of_order_are_refused(second: LineSpan) -> None:
    with pytest.raises(ValueError, match="order of the file"):
        encode_block(0, [LineSpan(10, 20, 0, 1), second])


def test_a_block_without_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one line"):
        encode_block(0, [])


@given(spans(), st.data())
def test_a_cut_block_is_never_read_as_a_whole_one(lines: list[LineSpan], data: st.DataObject) -> None:
    encoded = encode_block(0, lines)
    with pytest.raises(BadIndex):
        decode_block(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


def test_a_block_of_another_form_says_so() -> None:
    with pytest.raises(BadIndex, match="another program"):
        decode_block(b"\x03" + full_block()[1:])
