"""Removes the objects that no event names.

They come from puts whose event was never appended (a crash in between, a second writer that was faster) and,
in a local folder, from puts that died half-way.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from storage.store import ObjectMissing, StorageError, Store

PAGE = 1000
OWNER: Final = "owner"
"""The name under which a place says whose it is."""


async def require_owner(store: Store, log: UUID) -> None:
    """Has the place belong to this log from now on. Raises `StorageError` where it is another's, whose events
    name what ours do not."""
    ours = f"{log}\n".encode()
    try:
        found = await store.read(OWNER, 0, len(ours))
    except ObjectMissing:
        await store.keep(OWNER, ours)
        return
    if found != ours:
        raise StorageError(
            f"another database keeps its files in the same place ({OWNER!r} there names its log): give each "
            "a folder or prefix of its own"
        )


async def sweep(
    store: Store, named: Callable[[Sequence[str]], Awaitable[set[str]]], older_than: datetime
) -> int:
    """Delete what was last modified before `older_than` and is not named; returns how many were deleted.

    `named` answers which of at most `PAGE` keys some event names. `older_than` must lie further back than the
    longest time between the end of a put and the append of its event: what is younger is never touched.
    """
    deleted = 0
    page: list[str] = []
    async for info in store.list(older_than=older_than):
        page.append(info.key)
        if len(page) == PAGE:
            deleted += await _delete_orphans(store, named, page)
            page = []
    return deleted + await _delete_orphans(store, named, page) if page else deleted


async def _delete_orphans(
    store: Store, named: Callable[[Sequence[str]], Awaitable[set[str]]], keys: Sequence[str]
) -> int:
    orphans = set(keys) - await named(keys)
    for key in orphans:
        await store.delete(key)
    return len(orphans)
