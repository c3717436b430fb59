"""Wrapping keys: what data keys are encrypted with before the database gets them; kept outside of it.

    WRAPPING+KEY+<id, hex>+<base64(secret)>

The id is of the secret, and tells keys apart; it tells nothing of the secret.
"""

import base64
import binascii
import os
import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.errors import SettingsError
from events.event import length_prefixed
from storage.data_key import SECRET_BYTES, DataKey, DataKeyLost

_WRITTEN: Final = "WRAPPING+KEY+"
_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12


class WrappingKey:
    """Wraps and unwraps data keys (AES-256-GCM). Its text is a secret; `repr` does not tell it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(secret)
        self.id = sha256(b"wrapping key\n" + secret).digest()[:_ID_BYTES].hex()

    @classmethod
    def fresh(cls) -> "WrappingKey":
        """A new key, of the system's randomness."""
        return cls(secrets.token_bytes(SECRET_BYTES))

    @property
    def text(self) -> str:
        """As it is kept in a file that nobody else may read."""
        return f"{_WRITTEN}{self.id}+{base64.b64encode(self._secret).decode()}"

    def wrap(self, key: DataKey, project: str) -> bytes:
        """The data key of a project as the database keeps it."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key.secret, _of(key.id, project))

    def unwrap(self, wrapped: bytes, id: UUID, project: str) -> DataKey:
        """What was wrapped under this id for this project. Raises `DataKeyLost`."""
        try:
            return DataKey(
                id, self._cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _of(id, project))
            )
        except (InvalidTag, ValueError):
            raise DataKeyLost(
                f"data key {id} of project {project} is not what wrapping key {self.id} has wrapped"
            ) from None


def parse_wrapping_keys(text: str) -> list[WrappingKey]:
    """The keys of a key file, one on a line, the newest first. Raises `SettingsError`, which tells nothing of
    them."""
    return [_parsed(word) for word in text.split()]


def ids_of(keys: Sequence[WrappingKey]) -> str:
    """The ids, for a message."""
    return ", ".join(key.id for key in keys) or "none"


def _parsed(word: str) -> WrappingKey:
    id, _, encoded = word.removeprefix(_WRITTEN).partition("+")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not word.startswith(_WRITTEN) or len(secret) != SECRET_BYTES:
        raise SettingsError(
            f"wrapping_key: a key begins with {_WRITTEN}: `batchmill encryption new-key` makes one"
        )
    key = WrappingKey(secret)
    if key.id != id:
        raise SettingsError(f"wrapping_key: the id of key {id[:80]} does not fit it: was it cut or changed?")
    return key


def _of(id: UUID, project: str) -> bytes:
    """What a wrapped key is bound to, so that no row can take another's place."""
    return length_prefixed([id.bytes, project.encode()])
