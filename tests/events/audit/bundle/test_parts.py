"""What is decoded can be encoded in one way only."""

import io
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.audit.bundle.contents import decode_event, decode_head, encode_event
from events.audit.bundle.parts import BundleFlaw, PartReader, encode_part, split_prefixed
from events.event import length_prefixed
from tests.events.audit.bundle.bundles import KINDS, golden, parts_of

PARTS: Final = [part for kind in KINDS for _, part in parts_of(golden(f"{kind}.evidence"))]
CONTENTS: Final = [(part.name, part.content) for part in PARTS]
EVENTS: Final = [content for name, content in CONTENTS if name == "event"]


def reencoded(name: str, content: bytes) -> bytes:
    return encode_event(decode_event(content)) if name == "event" else decode_head(content).encode()


@pytest.mark.parametrize("name", ["event", "bundle"])
def test_what_we_wrote_is_canonical(name: str) -> None:
    written = [content for part, content in CONTENTS if part == name]
    assert written
    assert [reencoded(name, content) for content in written] == written


@given(st.sampled_from(EVENTS), st.data())
def test_an_event_that_can_be_decoded_is_canonical(event: bytes, data: st.DataObject) -> None:
    changed = bytearray(event)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_event(bytes(changed))
    except ValueError:
        return
    assert encode_event(decoded) == changed


@given(st.binary(max_size=200) | st.sampled_from([c for n, c in CONTENTS if n == "bundle"]), st.data())
def test_a_head_that_can_be_decoded_is_canonical(head: bytes, data: st.DataObject) -> None:
    changed = bytearray(head or b" ")
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_head(bytes(changed))
    except ValueError:
        return
    assert decoded.encode() == changed


@given(st.lists(st.none() | st.binary(max_size=20), max_size=5))
def test_pieces_come_back_and_only_from_their_own_bytes(pieces: list[bytes | None]) -> None:
    joined = length_prefixed(pieces)
    assert list(split_prefixed(joined, len(pieces))) == pieces
    for wrong in (joined + b"\0", joined[:-1] if joined else b"\0", b"\xff\xff\xff\xfe" + joined):
        with pytest.raises(ValueError):
            split_prefixed(wrong, len(pieces))


@pytest.mark.parametrize(
    "head",
    ["salt 016 {}", "salt  16 {}", "salt +16 {}", "SALT 16 {}", "salt 16 {}\r", "salt 16 {} ", "salt 16 "],
)
def test_a_head_is_written_in_one_way(head: str) -> None:
    content = b"sixteen bytes ok"
    right = encode_part("salt", content)
    assert PartReader(io.BytesIO(right)).take("salt").content == content
    checksum = right.split(b" ")[2][:64].decode()
    with pytest.raises(BundleFlaw, match="part 1, salt, has no head"):
        PartReader(io.BytesIO(head.format(checksum).encode() + b"\n" + content + b"\n")).take("salt")
