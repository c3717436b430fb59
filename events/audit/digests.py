"""What an event and its attachments must be by their digests, recomputed from the rows of the log.

Whoever checks (verify, replay, an export) takes every column of a row, `LogRow`, and asks here. Nothing here
reads anything.
"""

import struct
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec
import zstandard

from events.audit.leaf import event_leaf
from events.audit.tree import HASH_BYTES
from events.event import RecordedEvent, content_digest, event_digest
from events.outcomes.lines import root_digest, unpack_block, unpack_facts

COLUMNS: Final = (
    "position, event_id, stream_id, version, type, project_id, data, lines, metadata, attachments, "
    "content_digest, digest, recorded_at"
)
"""The columns of `LogRow`, as SELECT takes them."""


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """An event with every column that the log has of it."""

    position: int
    event_id: UUID
    stream_id: str
    version: int
    type: str
    project_id: str
    data: str
    lines: bytes | None
    metadata: str
    attachments: bytes | None
    content_digest: bytes
    digest: bytes
    recorded_at: datetime

    @property
    def event(self) -> RecordedEvent:
        """Without facts, attachments and digests: what folds take."""
        return RecordedEvent(
            self.position,
            self.event_id,
            self.stream_id,
            self.version,
            self.type,
            self.project_id,
            self.data,
            self.metadata,
            self.recorded_at,
        )

    @property
    def leaf(self) -> bytes:
        """The hash of its leaf, by the digest that the row names."""
        return event_leaf(self.digest, self.stream_id, self.version)


def content_digest_of(row: LogRow) -> bytes:
    """The content digest that the row's type, data, lines and attachment digests give."""
    return content_digest(row.type, row.data, row.lines, row.attachments)


def event_digest_of(row: LogRow) -> bytes:
    """The digest that all columns of the row but its position give; the content by what is in the row, not
    by the digest that it names."""
    return event_digest(row.event, content_digest_of(row))


def attachment_digests_of(row: LogRow) -> list[bytes]:
    """The digests that the event's attachments must have, in order (`attachment_digest`)."""
    recorded = row.attachments or b""
    return [recorded[at : at + HASH_BYTES] for at in range(0, len(recorded), HASH_BYTES)]


def attachment_digest(salt: bytes, body: bytes) -> bytes:
    """SHA-256 over salt and stored bytes, without a copy of either."""
    digest = sha256(salt)
    digest.update(body)
    return digest.digest()


class LinesDamaged(ValueError):
    """A flush's attachment has its recorded digest, but not the lines that the event tells of."""


def line_root_of(lines: bytes, salt: bytes, body: bytes) -> tuple[str, int]:
    """The root over a flush's result lines (`LinesCompleted.root`), from the facts in its `lines` column and
    its attachment, and how many bytes these lines have. Raises `LinesDamaged` where the two do not fit each
    other."""
    try:
        facts = unpack_facts(lines)
        size = sum(facts.sizes)
        block = unpack_block(body, limit=max(1, size))
        if len(block) != size:
            raise LinesDamaged(f"the lines have {len(block)} bytes, and not the {size} of their facts")
        results = [result for _, _, result in facts.results(memoryview(block))]
        return root_digest(facts.lines, results, salt), size
    except (msgspec.MsgspecError, zstandard.ZstdError, struct.error, OverflowError, ValueError) as error:
        raise LinesDamaged(str(error)) from error
