"""What of an event is a leaf of the tree.

The entry is `digest`, `stream_id` and `version` of the event, each after its length as a signed 32-bit number
(big-endian): 32 bytes, UTF-8, and a signed 64-bit number (big-endian). The digest covers every column of the
event but its position (`events.event.event_digest`), and the leaf's place says that one. Stream and version
are named once more so that an entry tells whose it is without the event.
"""

import struct

from events.audit.tree import leaf_hash
from events.event import length_prefixed


def entry(digest: bytes, stream_id: str, version: int) -> bytes:
    """The bytes that the leaf of an event is made of."""
    return length_prefixed([digest, stream_id.encode(), struct.pack(">q", version)])


def event_leaf(digest: bytes, stream_id: str, version: int) -> bytes:
    """The hash of the leaf of an event."""
    return leaf_hash(entry(digest, stream_id, version))
