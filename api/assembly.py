"""The parts of an upload, streamed one after the other into one object: one piece in memory at a time."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

from api.first_line import FirstLine
from events.failpoint import at
from events.upload import Part
from storage.store import StorageError, Store, Stored

_PREFIX = "files"


class Assembly:
    """One run through the parts; `md5` and `first_line` are of the whole content once it is stored."""

    def __init__(self, store: Store, parts: Sequence[Part]) -> None:
        self._store = store
        self._parts = parts
        self._digest = hashlib.md5(usedforsecurity=False)
        self.first_line = FirstLine()

    @property
    def md5(self) -> str:
        """In lower-case hex."""
        return self._digest.hexdigest()

    async def stored(self) -> Stored:
        """Puts the content in the store. Raises `ObjectMissing` where a part is gone, and `StorageError` also
        where one is not what it was; then there is no object."""
        await at("put.before")
        stored = await self._store.put(self._content(), prefix=_PREFIX)
        await at("put.after")
        return stored

    async def _content(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            digest = hashlib.sha256()
            async for piece in self._store.get(part.storage_key):
                await asyncio.to_thread(self._see, piece, digest)
                yield piece
            if digest.hexdigest() != part.sha256:
                raise StorageError(
                    f"part {part.id} is not what was stored under {part.storage_key}: its SHA-256 is "
                    f"{digest.hexdigest()}, not {part.sha256}; check the storage, and send the part again"
                )

    def _see(self, piece: bytes, digest: "hashlib._Hash") -> None:
        self._digest.update(piece)
        digest.update(piece)
        self.first_line.see(piece)
