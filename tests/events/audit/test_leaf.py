"""What of an event stands under the tree."""

import hashlib

from events.audit.leaf import entry, event_leaf


def test_an_entry_is_digest_stream_and_version_each_after_its_length() -> None:
    digest = bytes(range(32))
    made = entry(digest, "batch_ü", 7)
    assert made.hex() == (
        "00000020" + digest.hex() + "00000008" + "62617463685fc3bc" + "00000008" + "0000000000000007"
    )
    assert event_leaf(digest, "batch_ü", 7) == hashlib.sha256(b"\x00" + made).digest()
