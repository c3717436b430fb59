"""A checkpoint: how large the tree is and what its root is, as a text to sign (C2SP tlog-checkpoint)."""

import base64
import binascii
import re
from typing import Final
from uuid import UUID

import msgspec

from events.audit.note import MalformedNote
from events.audit.tree import HASH_BYTES

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class Checkpoint(msgspec.Struct, frozen=True):
    """`origin` names the log; `size` leaves have the `root`."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed: three lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def origin_of(incarnation: UUID) -> str:
    """The name of the log in one of its incarnations: after a restore that lost events, there is another, and
    what was signed before says nothing of it."""
    return f"batchmill/{incarnation}"


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint of a note's text. Raises `MalformedNote`, also for extension lines: we sign none."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise MalformedNote("a checkpoint is three lines: origin, size, root")
    origin, size, root = lines[:3]
    if not _SIZE.fullmatch(size):
        raise MalformedNote(f"{size[:40]!r} is no size of a tree")
    try:
        decoded = base64.b64decode(root, validate=True)
    except binascii.Error:
        decoded = b""
    if len(decoded) != HASH_BYTES or base64.b64encode(decoded).decode() != root:
        raise MalformedNote(f"{root[:60]!r} is no root of a tree")
    return Checkpoint(origin, int(size), decoded)
