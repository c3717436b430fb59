"""Names of objects: `<prefix>/<32 hex digits>` for what was put, anything else for what is kept by name."""

import re
import secrets

from storage.store import StorageError

# Narrower than what any store accepts, so that a key means the same in all of them and never leaves a folder.
_KEY = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_MADE_HERE = re.compile(r".+/[0-9a-f]{32}")


def fresh_key(prefix: str) -> str:
    """A key under `prefix` that was never used and cannot be guessed (128 random bits)."""
    return checked(f"{prefix}/{secrets.token_hex(16)}")


def checked(key: str) -> str:
    """`key` itself. Raises `StorageError` when it is none that a store could have made."""
    if not _KEY.fullmatch(key) or {".", ".."} & set(key.split("/")):
        raise StorageError(
            f"{key!r} is no key of an object: only letters, digits, '_', '.', '-' between slashes"
        )
    return key


def checked_again(key: str) -> str:
    """`key` itself. Raises `StorageError` when no put could have returned it."""
    if not is_made_here(checked(key)):
        raise StorageError(f"{key!r} is not like the key of a put")
    return key


def checked_name(name: str) -> str:
    """`name` itself. Raises `StorageError` when it is none that an object may be kept under for good."""
    if is_made_here(checked(name)):
        raise StorageError(f"{name!r} is no name to keep an object under: it is like the key of a put")
    return name


def is_made_here(key: str) -> bool:
    """Whether a store could have made it: a sweep passes by whatever else lies in the same place."""
    return _MADE_HERE.fullmatch(key) is not None
