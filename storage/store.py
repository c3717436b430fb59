"""The port behind which the contents of files are kept.

An object is written once, under a key nobody else has, and never changed: whoever knows its key may read it
at any time, and nothing has to be locked. What a key means is said by events; an object no event names is an
orphan and is swept (`storage.sweep`).

A few small objects are found by a name instead, without an event (`keep`, `replace`). No listing shows them,
so no sweep can take them.

Implementations: a folder of the local disk (`storage.local_folder`) and a bucket of S3, Google Cloud Storage
or Azure (`storage.bucket`); `storage.object_store.open_store` picks one by URL. In front of either, contents
are encrypted (`storage.encrypted_store`). All pass the same suite.
"""

from collections.abc import AsyncIterable, AsyncIterator
from datetime import datetime
from typing import Protocol

import msgspec


class StorageError(Exception):
    """Something went wrong in the store. The message names the place and, where there is one, the remedy."""


class ObjectMissing(StorageError):
    """There is no object under this key."""


class ObjectDamaged(ObjectMissing):
    """What is under this key is not what was put, as far as a store can tell: only one that encrypts can."""


class NameTaken(StorageError):
    """Other bytes are kept under this name."""


class StorageFull(StorageError):
    """The place has no room left, or its quota is used up. The same put succeeds once there is room."""


class StorageUnavailable(StorageError):
    """The place cannot be reached, refuses us, or did not answer in time. Trying again later may help."""


class Stored(msgspec.Struct, frozen=True):
    """What was put: `size` in bytes, `sha256` as 32 raw bytes, both of exactly the bytes that were stored."""

    key: str
    size: int
    sha256: bytes


class ObjectInfo(msgspec.Struct, frozen=True):
    """What a listing tells of an object: `size` in bytes, `modified` with its time zone."""

    key: str
    size: int
    modified: datetime


class Store(Protocol):
    """Every method may raise `StorageUnavailable`; none waits for the place longer than its patience allows.

    A body that is slow to arrive or a reader that is slow to take is no fault of the store: only the store's
    own steps are timed. Methods may be called concurrently, from the event loop the store is used in.
    """

    async def put(self, body: AsyncIterable[bytes], *, prefix: str, project: str) -> Stored:
        """Stream `body`, in chunks of any size, into a fresh key that ends with `<prefix>/<32 hex digits>`.

        `project` is whose it is, for a store that encrypts with the keys of projects.
        When it returns, the object is complete, visible and durable. When it raises or is cancelled, there is
        no object: neither whole nor in part. Holds a few MiB of the body at a time, whatever its length. An
        error raised by `body` passes through unchanged. Raises `StorageFull`.
        """
        ...

    async def put_again(self, body: AsyncIterable[bytes], key: str, *, digests: bool = True) -> Stored:
        """Stream `body` into the key of an earlier put whose object was lost, or is not whole any more.

        For all else as `put`; but what is left under the key may be gone where this raises. Only for the
        bytes that were there before: whoever knows the key may have read them. Without `digests` the SHA-256
        is left empty, for who has another. Raises `StorageError` for a key that no put returns.
        """
        ...

    def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes from `start` up to, not including, `end` (`None`: the end of the object).

        What lies beyond the end of the object is left out; so a range past it is empty. Pieces are at most a
        few MiB. Raises `ObjectMissing` when the first piece is asked for.
        """
        ...

    async def read(self, key: str, start: int, end: int) -> bytes:
        """The same range as `get`, whole: for ranges that fit in memory. Raises `ObjectMissing`."""
        ...

    async def keep(self, name: str, body: bytes) -> None:
        """Store `body` under a name for good; the same again changes nothing.

        When it returns, the object is complete, visible and durable; when it raises or is cancelled, it is
        there whole or not at all. It is read and deleted by its name as others by their key, and never
        listed. Raises `NameTaken` where it is kept with other bytes, `StorageError` for a name that is like
        the key of a put, and `StorageFull`.
        """
        ...

    async def replace(self, name: str, body: bytes) -> None:
        """Store `body` under a name, in the place of what was there: readers find the one or the other.
        For all else as `keep`."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the object. That it is absent is fine."""
        ...

    def list(self, *, older_than: datetime) -> AsyncIterator[ObjectInfo]:
        """All objects last modified before `older_than` (with its time zone), in no particular order.

        What a put that died with its process left behind is listed too, under a key no put ever returns, and
        can be deleted by it.
        """
        ...

    async def free_space(self) -> int | None:
        """How many bytes can still be stored; `None` where that has no meaning."""
        ...

    async def close(self) -> None:
        """Wait for what is under way and let go of threads and connections. The store is not used after."""
        ...
