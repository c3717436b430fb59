"""Objects in a bucket of S3, Google Cloud Storage or Azure, over obstore."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Coroutine, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, S3Store

from storage.handover import Handover
from storage.key import checked, checked_again, checked_name, fresh_key, is_made_here
from storage.pieces import PIECE_BYTES, pieces
from storage.store import (
    NameTaken,
    ObjectInfo,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageUnavailable,
    Stored,
)

if TYPE_CHECKING:  # obstore has it for type checkers only
    from obstore import ObjectMeta

# S3 takes 10,000 parts of at least 5 MiB: objects up to 50 GB, with at most four parts of a put in memory.
PART_BYTES = 5 << 20
PARTS_AT_ONCE = 3
# A get asks for one such range after the other: a slow reader then holds no connection, and no time-out of a
# request can cut a long download.
RANGE_BYTES = 4 << 20
LIST_PAGE = 1000

Result = TypeVar("Result")


class Bucket:
    """A `Store` in a bucket; `place` is what messages call it.

    An upload that is broken off is aborted. One whose process dies leaves parts in the bucket that nobody
    sees and that cost money: a lifecycle rule of the bucket removes them.
    """

    def __init__(self, bucket: S3Store | GCSStore | AzureStore, place: str, patience: float) -> None:
        self._bucket = bucket
        self._place = place
        self._patience = patience
        self._undoing: set[asyncio.Task[None]] = set()

    async def put(self, body: AsyncIterable[bytes], *, prefix: str, project: str) -> Stored:
        return await self._put(body, fresh_key(prefix))

    async def put_again(self, body: AsyncIterable[bytes], key: str, *, digests: bool = True) -> Stored:
        return await self._put(body, checked_again(key), digests=digests)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        while True:
            until = start + RANGE_BYTES if end is None else min(end, start + RANGE_BYTES)
            piece, size = await self._range(key, start, until)
            if piece:
                yield piece
            start += len(piece)
            end = size if end is None else min(end, size)
            if start >= end:
                return

    async def read(self, key: str, start: int, end: int) -> bytes:
        piece, _ = await self._range(key, start, end)
        return piece

    async def keep(self, name: str, body: bytes) -> None:
        if not await self._within(1, self._create(checked_name(name), body)):
            found = await self.read(name, 0, len(body) + 1)
            if found != body:
                raise NameTaken(f"{self._place}: {name} is kept with other bytes")

    async def replace(self, name: str, body: bytes) -> None:
        whole = obstore.put_async(self._bucket, checked_name(name), body, use_multipart=False)
        await self._within(1, whole)

    async def delete(self, key: str) -> None:
        try:
            await self._within(1, obstore.delete_async(self._bucket, checked(key)))
        except ObjectMissing:
            return

    async def list(self, *, older_than: datetime) -> AsyncIterator[ObjectInfo]:
        found = aiter(obstore.list(self._bucket, chunk_size=LIST_PAGE))
        while page := await self._within(1, _next_page(found)):
            for meta in page:
                if meta["last_modified"] < older_than and is_made_here(meta["path"]):
                    yield ObjectInfo(meta["path"], meta["size"], meta["last_modified"])

    async def free_space(self) -> int | None:
        return None

    async def close(self) -> None:
        if self._undoing:
            await asyncio.wait(self._undoing, timeout=2 * self._patience)

    async def _put(self, body: AsyncIterable[bytes], key: str, *, digests: bool = True) -> Stored:
        handover = Handover()
        upload = asyncio.create_task(self._upload(key, handover))
        digest, size = hashlib.sha256(), 0
        try:
            async with aclosing(pieces(body, PIECE_BYTES)) as regrouped:
                async for piece in regrouped:
                    if digests:
                        await asyncio.to_thread(digest.update, piece)
                    size += len(piece)
                    await self._beside(upload, handover.give(piece))
            await self._beside(upload, handover.end())
            # The parts still under way, then the request that makes the object of them.
            await self._within(2, asyncio.shield(upload))
        except BaseException as error:
            undoing = asyncio.create_task(self._undo(upload, handover, key, error))
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
            await asyncio.shield(undoing)
            raise
        return Stored(key, size, digest.digest() if digests else b"")

    async def _range(self, key: str, start: int, end: int) -> tuple[bytes, int]:
        """What there is of a range, and the size of the object."""
        if start < end and (found := await self._within(1, self._fetch(checked(key), start, end))):
            return found
        return b"", await self._size(key)

    async def _fetch(self, key: str, start: int, end: int) -> tuple[bytes, int] | None:
        """The same; `None` when the range begins past the end, which all clouds answer with this status."""
        try:
            found = await obstore.get_async(self._bucket, key, options={"range": (start, end)})
            return bytes(await found.bytes_async()), found.meta["size"]
        except GenericError as error:
            if "416 Range Not Satisfiable" in str(error):
                return None
            raise

    async def _create(self, name: str, body: bytes) -> bool:
        """Whether there was no object of that name."""
        try:
            await obstore.put_async(self._bucket, name, body, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    async def _size(self, key: str) -> int:
        meta = await self._within(1, obstore.head_async(self._bucket, checked(key)))
        return meta["size"]

    async def _upload(self, key: str, body: AsyncIterator[bytes]) -> None:
        try:
            await obstore.put_async(
                self._bucket, key, body, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )
        except FileNotFoundError as error:
            raise StorageUnavailable(f"{self._place} does not exist: {brief(error)}") from error

    async def _beside(self, upload: asyncio.Task[None], giving: Coroutine[None, None, None]) -> None:
        """Wait for `giving`, but not longer than the upload lives."""
        given = asyncio.create_task(giving)
        try:
            await asyncio.wait(
                {given, upload}, timeout=2 * self._patience, return_when=asyncio.FIRST_COMPLETED
            )
            if upload.done():
                await self._within(1, upload)
            if not given.done():
                raise StorageUnavailable(f"{self._place} took nothing for {2 * self._patience:g} s")
        finally:
            given.cancel()

    async def _undo(
        self, upload: asyncio.Task[None], handover: Handover, key: str, reason: BaseException
    ) -> None:
        """Break off `upload` and leave no object; `reason` is told what has to stay behind."""
        handover.abandon()
        done, _ = await asyncio.wait({upload}, timeout=self._patience)
        upload.cancel()
        if done and (upload.cancelled() or upload.exception() is not None):
            return
        try:
            await self.delete(key)
        except StorageError as error:
            reason.add_note(f"{self._place}: what was written is left to the sweep: {error}")

    async def _within(self, requests: int, answer: Awaitable[Result]) -> Result:
        """Wait for so many requests in a row, each of them within our patience."""
        try:
            async with asyncio.timeout(requests * self._patience + 1):
                return await answer
        except TimeoutError:
            raise StorageUnavailable(
                f"{self._place} did not answer within {requests * self._patience:g} s"
            ) from None
        except FileNotFoundError as error:
            if re.search("NoSuchBucket|ContainerNotFound", str(error)):
                raise StorageUnavailable(f"{self._place} does not exist: {brief(error)}") from error
            raise ObjectMissing(f"{self._place}: {brief(error)}") from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise StorageUnavailable(
                f"{self._place} refuses our credentials; check those of the environment: {brief(error)}"
            ) from error
        except (BaseError, OSError) as error:
            if re.search("StorageFull|QuotaExceeded|507 Insufficient Storage", str(error)):
                raise StorageFull(f"{self._place} has no room left: {brief(error)}") from error
            raise StorageUnavailable(f"{self._place}: {brief(error)}") from error


async def _next_page(found: AsyncIterator[Sequence["ObjectMeta"]]) -> Sequence["ObjectMeta"]:
    try:
        return await anext(found)
    except StopAsyncIteration:
        return ()


def brief(error: Exception) -> str:
    """The first line of obstore's long story, without what a URL may carry in its query (signatures)."""
    line = str(error).partition("\n")[0]
    return re.sub(r"\?\S*", "", line)[:500]
