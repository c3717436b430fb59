"""Attachments as the database gets them: as they are, or encrypted with the data key of their project.

    encrypted body := "BMe1" id of the data key (16) nonce (12) ciphertext tag (16)

What is encrypted is salt and body together, and the salt is then nowhere else: so the digests of an event do
not tell what a body was once its data key is destroyed. They are digests of what was not encrypted yet.
"""

import asyncio
import os
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.errors import DatabaseUnavailable
from events.event import SALT_BYTES, Attachment
from storage.data_key import DataKey, DataKeyDestroyed, DataKeyLost, DataKeys, NoDataKeys
from storage.store import StorageUnavailable

_MARK: Final = b"BMe1"
"""No zstd frame begins so."""
_ID_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_HEAD_BYTES: Final = len(_MARK) + _ID_BYTES + _NONCE_BYTES
INLINE_BYTES: Final = 128 << 10
"""What is encrypted or decrypted faster than a thread takes it over."""


class AttachmentCipher:
    """Between whoever has attachments and the table that keeps them."""

    def __init__(self, keys: DataKeys | None) -> None:
        self._keys = keys or NoDataKeys()

    async def stored(self, project: str, event_id: UUID, ordinal: int, attachment: Attachment) -> Attachment:
        """What the table is to keep. Raises `DatabaseUnavailable` where the data key cannot be had now."""
        try:
            key = await self._keys.to_encrypt(project)
        except StorageUnavailable as error:
            raise DatabaseUnavailable(str(error)) from error
        if key is None:
            return attachment
        if len(attachment.body) > INLINE_BYTES:
            return await asyncio.to_thread(_encrypted, key, event_id, ordinal, attachment)
        return _encrypted(key, event_id, ordinal, attachment)

    async def read(self, event_id: UUID, ordinal: int, stored: Attachment) -> Attachment | None:
        """What was stored; None where its data key was destroyed. What cannot be decrypted comes as it is: it
        does not have its digest. Raises `DatabaseUnavailable` as `stored`."""
        if not stored.body.startswith(_MARK):
            return stored
        id = UUID(bytes=stored.body[len(_MARK) :].ljust(_ID_BYTES, b"\0")[:_ID_BYTES])
        try:
            key = await self._keys.to_decrypt(id)
        except DataKeyDestroyed:
            return None
        except DataKeyLost:
            return stored
        except StorageUnavailable as error:
            raise DatabaseUnavailable(str(error)) from error
        if len(stored.body) > INLINE_BYTES:
            return await asyncio.to_thread(_decrypted, key, event_id, ordinal, stored)
        return _decrypted(key, event_id, ordinal, stored)


def _encrypted(key: DataKey, event_id: UUID, ordinal: int, attachment: Attachment) -> Attachment:
    nonce = os.urandom(_NONCE_BYTES)
    text = _cipher(key, event_id, ordinal).encrypt(nonce, attachment.salt + attachment.body, None)
    return Attachment(body=_MARK + key.id.bytes + nonce + text, salt=b"")


def _decrypted(key: DataKey, event_id: UUID, ordinal: int, stored: Attachment) -> Attachment:
    body = memoryview(stored.body)
    nonce, text = body[_HEAD_BYTES - _NONCE_BYTES : _HEAD_BYTES], body[_HEAD_BYTES:]
    try:
        plain = _cipher(key, event_id, ordinal).decrypt(nonce, text, None)
    except (InvalidTag, ValueError):
        return stored
    return Attachment(body=plain[SALT_BYTES:], salt=plain[:SALT_BYTES])


def _cipher(key: DataKey, event_id: UUID, ordinal: int) -> AESGCM:
    return key.cipher(f"attachment {event_id}/{ordinal}")
