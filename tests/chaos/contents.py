"""What a fleet has stored, in plain, for whoever looks at it beside the fleet: also where it is encrypted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from events.database import Database
from events.encryption.data_keys import ProjectDataKeys
from events.encryption.wrapping import Wrapping
from events.encryption.wrapping_key import WrappingKey
from storage.data_key import DataKeys
from storage.encrypted_store import EncryptedStore
from storage.object_store import open_store
from storage.store import Store

_WRAPPING_KEY: Final = WrappingKey(bytes(range(32)))


def encrypting(folder: Path) -> dict[str, str]:
    """Settings for every process of a fleet that encrypts; `folder` is where the key may lie."""
    file = folder / "wrapping-key"
    file.write_text(f"{_WRAPPING_KEY.text}\n")
    return {"encrypt_bodies": "true", "wrapping_key_file": str(file)}


@asynccontextmanager
async def opened(url: str, files: Path) -> AsyncIterator[tuple[Database, Store, DataKeys]]:
    """A database, by the application's login, the folder of its files, and what decrypts attachments."""
    database = await Database.open(url)
    keys = ProjectDataKeys(database, Wrapping([_WRAPPING_KEY]), encrypts=False)
    store = EncryptedStore(open_store(files.as_uri()), keys)
    try:
        yield database, store, keys
    finally:
        await store.close()
        await database.close()
