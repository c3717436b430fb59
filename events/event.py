"""What the log holds: events before and after they are recorded, and their attachments."""

import hashlib
import secrets
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTH: Final = struct.Struct(">i")
_ABSENT: Final = _LENGTH.pack(-1)
_NUMBER: Final = struct.Struct(">q")
SALT_BYTES: Final = 16
ATTACHMENT_BYTES: Final = 4 << 20
"""Most uncompressed bytes of one attachment; a single larger line makes an attachment of its own."""


def length_prefixed(parts: Sequence[bytes | None]) -> bytes:
    """Joins parts so that no two lists of parts give the same bytes; an absent part is length -1."""
    return b"".join([_ABSENT if part is None else _LENGTH.pack(len(part)) + part for part in parts])


class Attachment(msgspec.Struct, frozen=True):
    """A body that belongs to an event, kept apart from it so that it can be erased.

    `body` is the stored form (zstd); `salt` keeps the digest of a guessable body from telling what it was.
    """

    body: bytes
    salt: bytes = msgspec.field(default_factory=lambda: secrets.token_bytes(SALT_BYTES))

    @property
    def digest(self) -> bytes:
        """SHA-256 over salt and stored bytes."""
        digest = hashlib.sha256(self.salt)
        digest.update(self.body)  # not of both joined: that would copy the body, and hold up other threads
        return digest.digest()


class NewEvent(msgspec.Struct, frozen=True):
    """An event that somebody wants recorded.

    `data` and `metadata` are the exact JSON texts that are digested and stored. `metadata` says who and
    why (actor, request, process) and is not part of what makes a repeated event equal to the first.
    """

    event_id: UUID
    stream_id: str
    project_id: str
    type: str
    data: str
    metadata: str = "{}"
    lines: bytes | None = None
    attachments: tuple[Attachment, ...] = ()

    @property
    def attachment_digests(self) -> bytes | None:
        """The digests of the attachments in order, joined; None without attachments."""
        return b"".join(a.digest for a in self.attachments) if self.attachments else None

    def content_digest(self) -> bytes:
        """SHA-256 over type, data, lines and attachment digests: neither clock nor request."""
        return content_digest(self.type, self.data, self.lines, self.attachment_digests)


class RecordedEvent(msgspec.Struct, frozen=True):
    """An event of the log, without its per-line facts and attachments."""

    position: int
    event_id: UUID
    stream_id: str
    version: int
    type: str
    project_id: str
    data: str
    metadata: str
    recorded_at: datetime

    @property
    def second(self) -> int:
        """When it was recorded, in Unix seconds by the database's clock."""
        return int(self.recorded_at.timestamp())


def content_digest(type_: str, data: str, lines: bytes | None, attachment_digests: bytes | None) -> bytes:
    """The part of an event's digest that its writer answers for; see `NewEvent.content_digest`."""
    return hashlib.sha256(
        length_prefixed([type_.encode(), data.encode(), lines, attachment_digests])
    ).digest()


def event_digest(event: RecordedEvent, content: bytes) -> bytes:
    """The digest the log gives an event: every column but the position is under it.

    The SQL function `event_digest` computes the same; a test holds them together.
    """
    microseconds = (event.recorded_at - _EPOCH) // timedelta(microseconds=1)
    return hashlib.sha256(
        length_prefixed(
            [
                event.stream_id.encode(),
                _NUMBER.pack(event.version),
                event.event_id.bytes,
                event.project_id.encode(),
                event.metadata.encode(),
                _NUMBER.pack(microseconds),
                content,
            ]
        )
    ).digest()
