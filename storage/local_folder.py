"""Objects as files of one local folder.

Written with our own file code and not with obstore's, because that one never calls fsync: an event must not
name bytes that a power cut can take back.

    <root>/<prefix>/<32 hex digits>     an object
    <root>/<name>                       an object that is kept by its name
    <root>/.drafts/<32 hex digits>      a put under way, or what is left of one whose process died
"""

import asyncio
import errno
import os
import secrets
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

from storage.draft import Draft, sync_folder
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

LIST_PAGE = 1000
# Of its own, so that a disk that hangs does not also hold up what else the process does in threads.
THREADS = 8

_DRAFTS = ".drafts"
_OF_FILE_SYSTEMS = {"lost+found"}
_FULL = {errno.ENOSPC, errno.EDQUOT}

Result = TypeVar("Result")


class LocalFolder:
    """A `Store` in the folder `root`, which is made when it is missing and belongs to the store alone.

    No step of the disk may take longer than `patience` seconds. Raises `StorageUnavailable` when the folder
    cannot be made or read, `StorageError` when it holds something else (the sweep must never meet it).
    """

    def __init__(self, root: Path, *, patience: float = 60.0) -> None:
        self._root = root
        self._patience = patience
        try:
            if root.is_dir() and not (root / _DRAFTS).is_dir() and set(os.listdir(root)) - _OF_FILE_SYSTEMS:
                raise StorageError(f"{root} holds something else; name a folder that is new or empty")
            _make_folder(root / _DRAFTS)
        except OSError as error:
            raise self._failure(error) from error
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")

    async def put(self, body: AsyncIterable[bytes], *, prefix: str, project: str) -> Stored:
        return await self._put(body, fresh_key(prefix))

    async def put_again(self, body: AsyncIterable[bytes], key: str, *, digests: bool = True) -> Stored:
        return await self._put(body, checked_again(key), digests=digests)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        opened = await self._step(self._open, checked(key), start, end)
        if opened is None:
            raise self._missing(key)
        file, end, piece = opened
        while piece:
            yield piece
            start += len(piece)
            piece = await self._step(file.read, start, min(end, start + PIECE_BYTES)) if start < end else b""

    async def read(self, key: str, start: int, end: int) -> bytes:
        data = await self._step(self._read, checked(key), start, end)
        if data is None:
            raise self._missing(key)
        return data

    async def keep(self, name: str, body: bytes) -> None:
        if not await self._name(checked_name(name), body, Draft.keep):
            found = await self._step(self._read, name, 0, len(body) + 1)
            if found != body:
                raise NameTaken(f"{self._root}: {name} is kept with other bytes")

    async def replace(self, name: str, body: bytes) -> None:
        await self._name(checked_name(name), body, Draft.replace)

    async def delete(self, key: str) -> None:
        await self._step(_unlink if is_made_here(checked(key)) else _unlink_named, self._root / key)

    async def list(self, *, older_than: datetime) -> AsyncIterator[ObjectInfo]:
        found = _objects(self._root)
        while page := await self._step(_page, found):
            for info in page:
                if info.modified < older_than:
                    yield info

    async def free_space(self) -> int | None:
        return (await self._step(shutil.disk_usage, self._root)).free

    async def close(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await asyncio.to_thread(self._threads.shutdown)
        except TimeoutError:
            raise self._silence() from None

    async def _put(self, body: AsyncIterable[bytes], key: str, *, digests: bool = True) -> Stored:
        draft = self._draft(digests=digests)
        try:
            async with aclosing(pieces(body, PIECE_BYTES)) as regrouped:
                async for piece in regrouped:
                    await self._step(draft.write, piece)
            await self._step(draft.publish, self._root, key)
        except BaseException as error:
            await self._discard(draft, error)
            raise
        return Stored(key, draft.size, draft.sha256)

    async def _name(self, name: str, body: bytes, publish: Callable[[Draft, Path, str], Result]) -> Result:
        draft = self._draft()
        try:
            await self._step(draft.write, body)
            published = await self._step(publish, draft, self._root, name)
        except BaseException as error:
            await self._discard(draft, error)
            raise
        await self._step(draft.discard)
        return published

    def _draft(self, *, digests: bool = False) -> Draft:
        return Draft(self._root / _DRAFTS / secrets.token_hex(16), digests=digests)

    def _open(self, key: str, start: int, end: int | None) -> "tuple[_ReadFile, int, bytes] | None":
        """A file, where its range ends, and the first piece of it; None where there is no object."""
        file = self._open_file(key)
        if file is None:
            return None
        end = file.size if end is None else min(end, file.size)
        return file, end, file.read(start, min(end, start + PIECE_BYTES))

    def _read(self, key: str, start: int, end: int) -> bytes | None:
        """A range in one step, since a step costs more than a small read; None where there is no object."""
        file = self._open_file(key)
        return None if file is None else file.read(start, min(end, file.size))

    def _missing(self, key: str) -> ObjectMissing:
        return ObjectMissing(f"{self._root}: there is no object {key}")

    def _open_file(self, key: str) -> "_ReadFile | None":
        try:
            return _ReadFile(self._root / key)
        except FileNotFoundError:
            # This fails as well when the disk is not mounted, which must not look like a lost object.
            os.stat(self._root / _DRAFTS)
            return None

    async def _step(self, job: Callable[..., Result], *args: object) -> Result:
        """Run `job` in a thread. If we stop waiting for it, it goes on there: jobs must bear that."""
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.get_running_loop().run_in_executor(self._threads, job, *args)
        except TimeoutError:
            raise self._silence() from None
        except OSError as error:
            raise self._failure(error) from error

    async def _discard(self, draft: Draft, reason: BaseException) -> None:
        """Remove `draft`, also when cancelled once more; `reason` is told when it has to stay behind."""
        removal = asyncio.get_running_loop().run_in_executor(self._threads, draft.discard)
        try:
            done, _ = await asyncio.wait({removal}, timeout=self._patience)
        except asyncio.CancelledError:
            # Whoever hears of the end finds nothing left.
            await asyncio.wait({removal}, timeout=self._patience)
            raise
        failure = removal.exception() if done else self._silence()
        if failure is not None:
            reason.add_note(f"{self._root}: what was written is left to the sweep: {failure}")

    def _silence(self) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self._root}: the disk did not answer within {self._patience:g} s; is it healthy?"
        )

    def _failure(self, error: OSError) -> StorageError:
        if error.errno in _FULL:
            return StorageFull(
                f"{self._root}: {error.strerror}; free some space or name a folder on a larger disk"
            )
        return StorageUnavailable(f"{self._root}: {error}")


class _ReadFile:
    """A file open for reading; closed when nobody holds it: neither a `get` nor a step left in its thread."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, start: int, end: int) -> bytes:
        """All bytes of a range that lies within the file. Raises `OSError`."""
        parts: list[bytes] = []
        while start < end:
            part = os.pread(self._descriptor, end - start, start)
            if not part:
                raise OSError(errno.EIO, "an object became shorter while it was read")
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _unlink_named(path: Path) -> None:
    """Also the folder, where it was the last in it: names make many."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()


def _page(found: Iterator[ObjectInfo]) -> list[ObjectInfo]:
    return list(islice(found, LIST_PAGE))


def _objects(folder: Path, prefix: str = "") -> Iterator[ObjectInfo]:
    """Objects and drafts below `folder`; nothing that is not named as they are."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in _OF_FILE_SYSTEMS:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _objects(folder / entry.name, f"{prefix}{entry.name}/")
            elif is_made_here(key := prefix + entry.name):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # deleted since its name was read
                    continue
                yield ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _make_folder(folder: Path) -> None:
    """Make `folder` and those above it; the name of each that was made is durable."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)
