"""Data keys: what encrypts the bodies of one project, and can be destroyed, so that nobody reads them."""

import secrets
from typing import Final, Protocol
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from storage.store import ObjectDamaged, ObjectMissing, StorageUnavailable

SECRET_BYTES: Final = 32


class DataKeyDestroyed(ObjectMissing):
    """What was encrypted with this key is erased."""


class DataKeyLost(ObjectDamaged):
    """There is no such key, or its wrapped form is not what was kept: what it encrypted cannot be read."""


class DataKey:
    """256 random bits and a public id. `repr` does not tell the secret."""

    def __init__(self, id: UUID, secret: bytes) -> None:
        self.id = id
        self.secret = secret

    @classmethod
    def fresh(cls) -> "DataKey":
        """A new key, of the system's randomness."""
        return cls(uuid4(), secrets.token_bytes(SECRET_BYTES))

    def cipher(self, name: str) -> AESGCM:
        """What encrypts the one body of this name, with a key of its own (HKDF-Expand, RFC 5869). So a body
        under another's name cannot be decrypted, and nonces must differ within one body only."""
        return AESGCM(HKDFExpand(SHA256(), SECRET_BYTES, name.encode()).derive(self.secret))


class DataKeys(Protocol):
    """Where data keys come from. Both methods raise `StorageUnavailable` where that cannot be asked now, or
    has not what unwraps the key."""

    async def to_encrypt(self, project: str) -> DataKey | None:
        """The key that encrypts what this project stores; None where bodies are stored as they are."""
        ...

    async def to_decrypt(self, id: UUID) -> DataKey:
        """The key of this id. Raises `DataKeyDestroyed` and `DataKeyLost`."""
        ...


class NoDataKeys:
    """Encrypts nothing, and reads nothing that is encrypted."""

    async def to_encrypt(self, project: str) -> DataKey | None:
        """See `DataKeys.to_encrypt`."""
        return None

    async def to_decrypt(self, id: UUID) -> DataKey:
        """See `DataKeys.to_decrypt`."""
        raise StorageUnavailable(f"what data key {id} has encrypted cannot be read without data keys")
