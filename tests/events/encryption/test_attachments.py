"""Attachments between whoever has them and the table: encrypted, and read again."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.encryption.attachments import INLINE_BYTES, AttachmentCipher
from events.errors import DatabaseUnavailable
from events.event import Attachment
from events.outcomes.lines import pack_block
from storage.data_key import NoDataKeys
from tests.storage.data_keys import HeldDataKeys

EVENT = UUID(int=7)


@pytest.fixture
def keys() -> HeldDataKeys:
    return HeldDataKeys()


@given(st.binary(max_size=200) | st.integers(INLINE_BYTES, INLINE_BYTES + 2).map(bytes))
async def test_what_was_stored_is_read_again_and_the_table_sees_neither_body_nor_salt(body: bytes) -> None:
    cipher = AttachmentCipher(HeldDataKeys())
    attachment = Attachment(body)
    stored = await cipher.stored("p", EVENT, 3, attachment)
    assert stored.salt == b""
    assert attachment.salt not in stored.body
    assert len(body) < 8 or body not in stored.body
    assert await cipher.read(EVENT, 3, stored) == attachment


async def test_what_is_not_encrypted_is_read_as_it_is(keys: HeldDataKeys) -> None:
    attachment = Attachment(pack_block([b"one\n"]))
    assert await AttachmentCipher(NoDataKeys()).stored("p", EVENT, 0, attachment) is attachment
    for reader in (NoDataKeys(), keys):
        assert await AttachmentCipher(reader).read(EVENT, 0, attachment) is attachment


async def test_what_a_destroyed_key_encrypted_is_erased(keys: HeldDataKeys) -> None:
    cipher = AttachmentCipher(keys)
    stored = await cipher.stored("p", EVENT, 0, Attachment(b"x"))
    keys.destroy("p")
    assert await cipher.read(EVENT, 0, stored) is None


async def test_what_was_tampered_with_does_not_have_its_digest(keys: HeldDataKeys) -> None:
    cipher = AttachmentCipher(keys)
    attachment = Attachment(b"a body")
    stored = await cipher.stored("p", EVENT, 0, attachment)
    for at in range(0, len(stored.body), 3):
        flipped = stored.body[:at] + bytes([stored.body[at] ^ 1]) + stored.body[at + 1 :]
        found = await cipher.read(EVENT, 0, Attachment(flipped, b""))
        assert found is None or found.digest != attachment.digest
    for event_id, ordinal, body in (
        (uuid4(), 0, stored.body),
        (EVENT, 1, stored.body),
        (EVENT, 0, stored.body[:30]),
        (EVENT, 0, stored.body[:5]),
        (EVENT, 0, stored.body + b"x"),
    ):
        found = await cipher.read(event_id, ordinal, Attachment(body, b""))
        assert found is not None
        assert found.digest != attachment.digest


async def test_a_key_that_cannot_be_had_now_is_a_database_that_cannot_be_used(keys: HeldDataKeys) -> None:
    stored = await AttachmentCipher(keys).stored("p", EVENT, 0, Attachment(b"x"))
    with pytest.raises(DatabaseUnavailable, match="data key"):
        await AttachmentCipher(NoDataKeys()).read(EVENT, 0, stored)
