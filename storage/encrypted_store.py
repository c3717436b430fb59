"""A store whose objects are encrypted before they leave the process, in front of one that keeps them.

    encrypted/<id of the data key>/<prefix>/<32 hex digits>     an encrypted object

The key of an object says whether it is encrypted, and with what: so plain objects that are there stay
readable, and nothing is asked for beside a range itself. Objects that are kept by a name are not encrypted:
no bodies are among them.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.data_key import DataKey, DataKeyDestroyed, DataKeyLost, DataKeys
from storage.frames import (
    ENCRYPTED_FRAME_BYTES,
    FRAME_BYTES,
    FrameDamaged,
    decrypt,
    encrypt,
    plain_size,
    span_of,
)
from storage.key import checked_again, fresh_key
from storage.pieces import PIECE_BYTES, pieces
from storage.store import ObjectDamaged, ObjectInfo, Store, Stored

FRAMES_AT_ONCE: Final = PIECE_BYTES // FRAME_BYTES
"""What is encrypted or decrypted in one step, in a thread."""
INLINE_BYTES: Final = 512 << 10
"""What is decrypted faster than a thread takes it over."""
_ENCRYPTED: Final = re.compile(r"encrypted/([0-9a-f]{32})/.+")


class EncryptedStore:
    """A `Store` in front of another, which is closed with it. What is damaged raises `ObjectDamaged` where it
    is read; a range in which nothing lies is empty, and proves nothing."""

    def __init__(self, inner: Store, keys: DataKeys) -> None:
        self._inner = inner
        self._keys = keys
        self.keep = inner.keep
        self.replace = inner.replace
        self.delete = inner.delete
        self.free_space = inner.free_space
        self.close = inner.close

    async def put(self, body: AsyncIterable[bytes], *, prefix: str, project: str) -> Stored:
        """See `Store.put`."""
        data_key = await self._keys.to_encrypt(project)
        if data_key is None:
            return await self._inner.put(body, prefix=prefix, project=project)
        return await self._put(body, fresh_key(f"encrypted/{data_key.id.hex}/{prefix}"), data_key)

    async def put_again(self, body: AsyncIterable[bytes], key: str, *, digests: bool = True) -> Stored:
        """See `Store.put_again`."""
        data_key = await self._data_key(checked_again(key))
        if data_key is None:
            return await self._inner.put_again(body, key, digests=digests)
        return await self._put(body, key, data_key)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See `Store.get`."""
        data_key = await self._data_key(key)
        if data_key is None or (end is not None and start >= end):
            async for piece in self._inner.get(key, start, end):
                yield piece
            return
        cipher, at = data_key.cipher(key), start // FRAME_BYTES * FRAME_BYTES
        async with aclosing(self._runs(key, start, end)) as runs:
            async for run, ends in runs:
                plain = await _decrypted(key, cipher, at // FRAME_BYTES, run, ends=ends)
                piece = plain[max(0, start - at) : None if end is None else end - at]
                at += len(plain)
                if piece:
                    yield piece

    async def read(self, key: str, start: int, end: int) -> bytes:
        """See `Store.read`."""
        data_key = await self._data_key(key)
        if data_key is None or start >= end:
            return await self._inner.read(key, start, end)
        span = span_of(start, end)
        # One byte more tells whether the body goes on.
        found = await self._inner.read(key, span.start, span.end + 1)
        run, ends = found[: span.end - span.start], len(found) <= span.end - span.start
        if not run and span.first:
            return b""
        plain = await _decrypted(key, data_key.cipher(key), span.first, run, ends=ends)
        origin = span.first * FRAME_BYTES
        return plain[start - origin : end - origin]

    async def list(self, *, older_than: datetime) -> AsyncIterator[ObjectInfo]:
        """See `Store.list`."""
        async for info in self._inner.list(older_than=older_than):
            if _ENCRYPTED.fullmatch(info.key):
                yield msgspec.structs.replace(info, size=plain_size(info.size))
            else:
                yield info

    async def _put(self, body: AsyncIterable[bytes], key: str, data_key: DataKey) -> Stored:
        plain = _Plain(data_key.cipher(key))
        await self._inner.put_again(plain.encrypted(body), key, digests=False)
        return Stored(key, plain.size, plain.digest.digest())

    async def _data_key(self, key: str) -> DataKey | None:
        """What an object is encrypted with; None where it is not."""
        name = _ENCRYPTED.fullmatch(key)
        if name is None:
            return None
        try:
            return await self._keys.to_decrypt(UUID(name[1]))
        except (DataKeyDestroyed, DataKeyLost) as error:
            raise type(error)(f"{key} cannot be read: {error}") from error

    async def _runs(self, key: str, start: int, end: int | None) -> AsyncGenerator[tuple[bytes, bool], None]:
        """The frames of a range, some at a time, and whether the last of them ends the body."""
        first = start // FRAME_BYTES * ENCRYPTED_FRAME_BYTES
        # One byte more tells whether the body goes on.
        more = None if end is None else span_of(start, end).end + 1
        held, at = b"", first
        encrypted = self._inner.get(key, first, more)
        async with aclosing(pieces(encrypted, FRAMES_AT_ONCE * ENCRYPTED_FRAME_BYTES)) as runs:
            async for run in runs:
                if held:
                    yield held, False
                held = run
                at += len(run)
        if at == more:
            held = held[:-1]
        if held or not at:
            yield held, at != more


class _Plain:
    """A body on its way: its size and digest, of what was encrypted so far."""

    def __init__(self, cipher: AESGCM) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self._cipher = cipher

    async def encrypted(self, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        held: bytes | None = None
        async with aclosing(pieces(body, FRAMES_AT_ONCE * FRAME_BYTES)) as runs:
            async for run in runs:
                if held is not None:
                    yield await asyncio.to_thread(self._take, held, ends=False)
                held = run
        yield await asyncio.to_thread(self._take, held or b"", ends=True)

    def _take(self, run: bytes, *, ends: bool) -> bytes:
        frames = encrypt(self._cipher, self.size // FRAME_BYTES, run, ends=ends)
        self.digest.update(run)
        self.size += len(run)
        return frames


async def _decrypted(key: str, cipher: AESGCM, first: int, run: bytes, *, ends: bool) -> bytes:
    try:
        if len(run) > INLINE_BYTES:
            return await asyncio.to_thread(decrypt, cipher, first, run, ends=ends)
        return decrypt(cipher, first, run, ends=ends)
    except FrameDamaged as error:
        raise ObjectDamaged(f"{key} is not as it was put: {error}") from None
