"""A segment as bytes: a stretch of events in the order of their positions, each with every column.

    zstd( "batchmill segment 1\\n" (length, event)… )

A length is a signed 32-bit number, big-endian; an event is encoded as in an evidence bundle
(docs/reference/evidence-bundle.md). What is compressed has one encoding; what zstd makes of it may differ
from one version of zstd to another."""

from collections.abc import Sequence
from typing import Final

import zstandard

from events.audit.bundle.contents import decode_event, encode_event
from events.audit.digests import LogRow
from events.event import length_prefixed

HEAD: Final = b"batchmill segment 1\n"
LEVEL: Final = 9
"""Of zstd: written once, by nobody who is in a hurry."""
MOST_BYTES: Final = 1 << 30
"""Of one segment, uncompressed."""


def pack(rows: Sequence[LogRow]) -> bytes:
    """A segment of these events, in the order of their positions, which have the digests that they name."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(_encode(rows))


def unpack(stored: bytes) -> list[LogRow]:
    """The events of a segment. Raises `ValueError` for what is none."""
    content = _decompressed(stored)
    rows = [decode_event(event) for event in _events(content)]
    if _encode(rows) != content:
        raise ValueError("it is not encoded as it must be")
    return rows


def encoded_events(stored: bytes) -> dict[int, bytes]:
    """The events of a segment by their positions, each as it is encoded: for who needs a few of them. Raises
    `ValueError` where not even these can be told apart."""
    return {_number(event): event for event in _events(_decompressed(stored))}


def stream_of(event: bytes) -> str:
    """Whose an encoded event is."""
    return event[16 : 16 + int.from_bytes(event[12:16], "big")].decode()


def _number(event: bytes) -> int:
    return int.from_bytes(event[4:12], "big", signed=True)


def _decompressed(stored: bytes) -> bytes:
    try:
        if zstandard.frame_content_size(stored) > MOST_BYTES:
            raise ValueError(f"it says that it has more than {MOST_BYTES} bytes")
        content = zstandard.ZstdDecompressor().decompress(
            stored, max_output_size=MOST_BYTES, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if not content.startswith(HEAD):
        raise ValueError("it does not begin as a segment of version 1")
    return content


def _events(content: bytes) -> list[bytes]:
    events: list[bytes] = []
    at = len(HEAD)
    while at < len(content):
        begin = at + 4
        at = begin + int.from_bytes(content[at:begin], "big", signed=True)
        if not begin < at <= len(content):
            raise ValueError("one of its lengths is none")
        events.append(content[begin:at])
        if len(events) > 1 and _number(events[-2]) >= _number(events[-1]):
            raise ValueError("its events are not in the order of their positions")
    return events


def _encode(rows: Sequence[LogRow]) -> bytes:
    return HEAD + length_prefixed([encode_event(row) for row in rows])
