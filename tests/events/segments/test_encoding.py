"""A segment holds every column of its events, has one encoding, and nothing else is taken for one."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from uuid import UUID

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from events.audit.bundle.contents import decode_event
from events.audit.digests import LogRow, event_digest_of
from events.event import content_digest
from events.segments.encoding import HEAD, pack, unpack
from events.segments.shelf import Opened, Segment, SegmentDamaged

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


def event(
    position: int,
    *,
    stream: str = "batch_1",
    project: str = "p",
    data: str = "{}",
    metadata: str = "{}",
    lines: bytes | None = b"facts",
    attachments: bytes | None = None,
    microseconds: int = 0,
    id: int = 1,
) -> LogRow:
    """An event with the digests that it must have."""
    content = content_digest("LinesCompleted", data, lines, attachments)
    row = LogRow(
        position=position,
        event_id=UUID(int=id),
        stream_id=stream,
        version=position,
        type="LinesCompleted",
        project_id=project,
        data=data,
        lines=lines,
        metadata=metadata,
        attachments=attachments,
        content_digest=content,
        digest=b"",
        recorded_at=EPOCH + timedelta(microseconds=microseconds),
    )
    return msgspec.structs.replace(row, digest=event_digest_of(row))


@st.composite
def events(draw: st.DrawFn) -> list[LogRow]:
    positions = sorted(draw(st.sets(st.integers(1, 1 << 60), min_size=1, max_size=6)))
    return [
        event(
            position,
            stream=draw(texts),
            project=draw(texts),
            data=draw(texts),
            metadata=draw(texts),
            lines=draw(st.none() | st.binary(max_size=20)),
            attachments=draw(st.none() | st.binary(min_size=32, max_size=32)),
            microseconds=draw(st.integers(0, 1 << 52)),
            id=draw(st.integers(0, (1 << 128) - 1)),
        )
        for position in positions
    ]


@given(events())
def test_what_was_packed_is_unpacked_with_every_column(rows: list[LogRow]) -> None:
    assert unpack(pack(rows)) == rows


def compressed(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


def test_what_is_none_is_refused() -> None:
    content = zstandard.ZstdDecompressor().decompress(pack([event(1), event(2)]))
    first = content[len(HEAD) : len(HEAD) + (len(content) - len(HEAD)) // 2]
    for wrong in (
        b"no zstd",
        compressed(b""),
        compressed(content.replace(b"segment 1", b"segment 2")),
        compressed(content[:-1]),
        compressed(content + b"\0"),
        compressed(content + b"\xff\xff\xff\xff"),
        compressed(content + first),
        compressed(content) + b"more",
    ):
        with pytest.raises(ValueError, match=r"\w"):
            unpack(wrong)


def test_no_bit_of_it_can_be_another_and_none_be_missing() -> None:
    stored = pack([event(1), event(2, data='{"other":1}'), event(5)])
    segment = Segment(1, [1, 5], [3, 6], "audit/x", sha256(stored).digest(), len(stored))
    assert [row.position for row in Opened(segment, stored).of_stream("batch_1", decode_event)] == [1, 2, 5]
    dice = Random(1)
    for _ in range(200):
        at, bit = dice.randrange(len(stored)), 1 << dice.randrange(8)
        with pytest.raises(SegmentDamaged, match="the segment 1 to 5 of the log"):
            Opened(segment, stored[:at] + bytes([stored[at] ^ bit]) + stored[at + 1 :])
        with pytest.raises(SegmentDamaged, match="the segment 1 to 5 of the log"):
            Opened(segment, stored[:at])


def test_a_segment_of_other_events_than_the_database_says_is_damaged() -> None:
    stored = pack([event(1), event(3)])
    with pytest.raises(SegmentDamaged, match="other events"):
        Opened(Segment(1, [1], [3], "audit/x", sha256(stored).digest(), len(stored)), stored)


def test_the_positions_of_a_segment_are_those_of_its_runs() -> None:
    segment = Segment(3, [3, 8, 20], [5, 9, 23], "audit/x", b"", 0)
    assert segment.last == 22
    assert segment.positions(0, 100) == [3, 4, 8, 20, 21, 22]
    assert segment.positions(3, 21) == [4, 8, 20, 21]
    assert segment.positions(8, 19) == []
