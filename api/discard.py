"""Takes back what was stored and will be named by no event."""

from storage.store import StorageError, Store, Stored


async def discard(store: Store, stored: Stored, reason: BaseException) -> None:
    """Removes an object; `reason`, for which it goes, is told where it has to stay behind."""
    try:
        await store.delete(stored.key)
    except StorageError as error:
        reason.add_note(f"what was uploaded is left to the sweep: {error}")
