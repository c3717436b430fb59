"""What encryption needs of the settings: what wraps data keys, and the stores that are read with them."""

import shlex

from cli.settings import Settings
from events.database import Database
from events.encryption.data_keys import ProjectDataKeys
from events.encryption.wrapping import Wrapping
from events.encryption.wrapping_key import parse_wrapping_keys
from storage.encrypted_store import EncryptedStore
from storage.store import Store


def wrapping_of(settings: Settings) -> Wrapping | None:
    """What wraps by the settings; None where nothing does. Raises `SettingsError` for what are no keys."""
    keys = parse_wrapping_keys(settings.wrapping_key or "")
    if settings.wrapping_command is not None:
        return Wrapping(keys, shlex.split(settings.wrapping_command))
    return Wrapping(keys) if keys else None


def data_keys_of(settings: Settings, database: Database) -> ProjectDataKeys:
    """The data keys in a database, as the settings have them. Raises as `wrapping_of`."""
    return ProjectDataKeys(database, wrapping_of(settings), encrypts=settings.encrypt_bodies)


async def open_contents(
    settings: Settings, database: Database, store: Store
) -> tuple[EncryptedStore, ProjectDataKeys]:
    """The contents of a store, readable also where they are encrypted, and the keys for attachments. Raises
    `SettingsError` where what unwraps them is not given."""
    keys = data_keys_of(settings, database)
    await keys.require_wrapping()
    return EncryptedStore(store, keys), keys
