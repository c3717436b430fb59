"""The storage of the settings, for whoever works on it for a while."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cli.settings import Settings
from storage.object_store import open_store
from storage.store import Store


@asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Store]:
    """The one that they name, or the folder beside an embedded database, for as long as the block runs."""
    store = open_store(settings.storage_url or (settings.data_dir.expanduser().absolute() / "files").as_uri())
    try:
        yield store
    finally:
        await store.close()
