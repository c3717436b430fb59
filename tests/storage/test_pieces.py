"""Regrouping a body loses nothing and bounds what a step is given."""

from hypothesis import given
from hypothesis import strategies as st

from storage.pieces import pieces
from tests.storage.bodies import body_of


@given(chunks=st.lists(st.binary(max_size=40)), size=st.integers(1, 20))
async def test_pieces_are_the_body_in_equal_parts(chunks: list[bytes], size: int) -> None:
    found = [piece async for piece in pieces(body_of(*chunks), size)]
    assert b"".join(found) == b"".join(chunks)
    assert all(len(piece) == size for piece in found[:-1])
    assert all(0 < len(piece) <= size for piece in found)
