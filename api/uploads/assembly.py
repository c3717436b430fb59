"""The parts of an upload, streamed one after the other into one object: one piece in memory at a time."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

from api.batches.first_line import FirstLine
from events.failpoint import at
from events.upload import Part
from storage.store import StorageError, Store, Stored

_PREFIX = "files"


class Assembly:
    """One run through the parts. What is read is held against one digest: the MD5 of the whole where the
    caller wants to compare that, else the SHA-256 of each part.

    Once it is stored, `md5` (lower-case hex) and `first_line` are of the whole content.
    """

    def __init__(self, store: Store, parts: Sequence[Part], project_id: str, *, wants_md5: bool) -> None:
        self._store = store
        self._project_id = project_id
        self._parts = parts
        self._md5 = hashlib.md5(usedforsecurity=False) if wants_md5 else None
        self.first_line = FirstLine()

    @property
    def md5(self) -> str | None:
        """None where it was not wanted."""
        return None if self._md5 is None else self._md5.hexdigest()

    async def stored(self) -> Stored:
        """Puts the content in the store. Raises `ObjectMissing` where a part is gone, and `StorageError` also
        where one is not what it was; then there is no object."""
        await at("put.before")
        stored = await self._store.put(self._content(), prefix=_PREFIX, project=self._project_id)
        await at("put.after")
        return stored

    async def _content(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            digest = self._md5 or hashlib.sha256()
            async for piece in self._store.get(part.storage_key):
                self.first_line.see(piece)
                # Beside the store's own work on the same piece, which is mostly its digest.
                digesting = asyncio.create_task(asyncio.to_thread(digest.update, piece))
                try:
                    yield piece
                finally:
                    await digesting
            if self._md5 is None and digest.hexdigest() != part.sha256:
                raise StorageError(
                    f"part {part.id} is not what was stored under {part.storage_key}: its SHA-256 is "
                    f"{digest.hexdigest()}, not {part.sha256}; check the storage, and send the part again"
                )
