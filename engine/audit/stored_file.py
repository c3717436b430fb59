"""Reads a file in storage once: for its digest, and beside what it must hold."""

import asyncio
from contextlib import suppress
from hashlib import sha256
from typing import Final

from events.audit.ahead import ahead
from storage.store import ObjectDamaged, ObjectMissing, Store

INLINE_BYTES: Final = 32 << 10
"""What is hashed faster than a thread takes it over."""
DAMAGED: Final = "what cannot be decrypted"
"""In the place of a digest."""


class StoredFile:
    """An object. `take` what it must hold, where that is known; then ask `ended`, or `digest`.

    Holds two pieces of it. Close it in the end. Every method raises as `Store.get`, but `digest` no
    `ObjectMissing`.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.size = 0
        """Bytes read so far."""
        self._pieces = ahead(store.get(key))
        self._digest = sha256()
        self._piece, self._at = b"", 0
        self._same = True
        self._missing = self._damaged = False

    async def take(self, text: bytes) -> None:
        """The bytes that must come next. Once others did, nothing more is read for it."""
        at = 0
        while self._same and at < len(text):
            if self._at == len(self._piece) and not await self._read():
                self._same = False
                return
            both = min(len(text) - at, len(self._piece) - self._at)
            self._same = text[at : at + both] == self._piece[self._at : self._at + both]
            at, self._at = at + both, self._at + both

    async def ended(self) -> bool:
        """Whether it holds what was taken, and no more."""
        return self._same and self._at == len(self._piece) and not await self._read()

    async def digest(self) -> str | None:
        """The SHA-256 (hex) of all of it, which is read to the end; None where there is no such object, and
        `DAMAGED` where it is encrypted and not as it was put."""
        with suppress(ObjectMissing):
            while await self._read():
                pass
        if self._damaged:
            return DAMAGED
        return None if self._missing else self._digest.hexdigest()

    async def aclose(self) -> None:
        """Reads no more."""
        await self._pieces.aclose()

    async def _read(self) -> bool:
        """The next piece; False at the end."""
        try:
            self._piece, self._at = await anext(self._pieces, b""), 0
        except ObjectMissing as error:
            self._missing = True
            self._damaged = isinstance(error, ObjectDamaged)
            raise
        self.size += len(self._piece)
        if len(self._piece) > INLINE_BYTES:
            await asyncio.to_thread(self._digest.update, self._piece)
        else:
            self._digest.update(self._piece)
        return bool(self._piece)
