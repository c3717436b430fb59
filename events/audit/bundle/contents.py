"""What the parts of a bundle hold: its head, and the events. Each content has one encoding."""

import re
import struct
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import msgspec

from events.audit.bundle.parts import split_prefixed
from events.audit.digests import LogRow
from events.audit.tree import HASH_BYTES
from events.event import RecordedEvent, content_digest, length_prefixed

VERSION: Final = 1
Kind = Literal["digests", "bodies"]
"""Whether the bundle holds the digests of the result lines alone, or the attachments as well."""

_HEAD: Final = re.compile(
    rf"batchmill evidence {VERSION}\n([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})\n"
    r"([!-~]{1,256})\n(digests|bodies)\n"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS: Final = 12


class Head(msgspec.Struct, frozen=True):
    """Which log, which batch, and how much of it."""

    incarnation: UUID
    batch_id: str
    kind: Kind

    def encode(self) -> bytes:
        """Four lines."""
        return f"batchmill evidence {VERSION}\n{self.incarnation}\n{self.batch_id}\n{self.kind}\n".encode()


def decode_head(content: bytes) -> Head:
    """The head. Raises `ValueError`."""
    found = _HEAD.fullmatch(content.decode("ascii"))
    if found is None:
        raise ValueError(f"it is not that of a bundle of version {VERSION}")
    return Head(UUID(found[1]), found[2], "bodies" if found[3] == "bodies" else "digests")


def encode_event(row: LogRow) -> bytes:
    """An event with every column; that of the content digest follows from others."""
    return length_prefixed(
        [
            struct.pack(">q", row.position),
            row.stream_id.encode(),
            struct.pack(">q", row.version),
            row.event_id.bytes,
            row.project_id.encode(),
            row.metadata.encode(),
            struct.pack(">q", (row.recorded_at - _EPOCH) // timedelta(microseconds=1)),
            row.type.encode(),
            row.data.encode(),
            row.lines,
            row.attachments,
            row.digest,
        ]
    )


def decode_event(content: bytes) -> LogRow:
    """The event; its content digest is that of what it holds. Raises `ValueError`."""
    event, lines, attachments, digest = _decoded(content)
    return LogRow(
        position=event.position,
        event_id=event.event_id,
        stream_id=event.stream_id,
        version=event.version,
        type=event.type,
        project_id=event.project_id,
        data=event.data,
        lines=lines,
        metadata=event.metadata,
        attachments=attachments,
        content_digest=content_digest(event.type, event.data, lines, attachments),
        digest=digest,
        recorded_at=event.recorded_at,
    )


def decode_recorded(content: bytes) -> RecordedEvent:
    """What folds take of the event. Raises `ValueError`."""
    return _decoded(content)[0]


def _decoded(content: bytes) -> tuple[RecordedEvent, bytes | None, bytes | None, bytes]:
    """The event, its lines, the digests of its attachments, and its own."""
    fields = split_prefixed(content, _FIELDS)
    lines, attachments = fields[9], fields[10]
    named = [piece for piece in (*fields[:9], fields[11]) if piece is not None]
    if len(named) < _FIELDS - 2:
        raise ValueError("a column is absent that every event has")
    position, stream, version, event_id, project, metadata, at, type_, data, digest = named
    if len(digest) != HASH_BYTES or (attachments is not None and len(attachments) % HASH_BYTES):
        raise ValueError("one of its digests has another length")
    try:
        recorded_at = _EPOCH + timedelta(microseconds=_number(at))
    except OverflowError as error:
        raise ValueError("it was recorded at no time") from error
    event = RecordedEvent(
        position=_number(position),
        event_id=UUID(bytes=event_id),
        stream_id=stream.decode(),
        version=_number(version),
        type=type_.decode(),
        project_id=project.decode(),
        data=data.decode(),
        metadata=metadata.decode(),
        recorded_at=recorded_at,
    )
    return event, lines, attachments, digest


def _number(encoded: bytes) -> int:
    if len(encoded) != 8:
        raise ValueError("one of its numbers does not have 8 bytes")
    return int.from_bytes(encoded, "big", signed=True)
