"""One API key as a stream of events; the key itself is shown once and never kept.

KeyCreated ──KeyRevoked──▶ revoked
"""

import hashlib
import secrets
from typing import Final, assert_never

import msgspec

KEY_PREFIX: Final = "sk-bm-"


class KeyCreated(msgspec.Struct, frozen=True):
    """A key of a project. `hint` is what a list may show of it."""

    sha256: str
    hint: str
    name: str | None = None


class KeyRevoked(msgspec.Struct, frozen=True):
    """The key opens nothing any more."""


KeyEvent = KeyCreated | KeyRevoked


class Key(msgspec.Struct, frozen=True):
    """A key as its events made it."""

    created: KeyCreated
    created_at: int
    revoked_at: int | None = None


class CreateKey(msgspec.Struct, frozen=True):
    """Give a project a key."""

    created: KeyCreated


class RevokeKey(msgspec.Struct, frozen=True):
    """Take a key away."""


KeyCommand = CreateKey | RevokeKey


def fresh_secret() -> str:
    """A new API key: 256 random bits behind a prefix that secret scanners can find."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def describe_secret(secret: str, name: str | None = None) -> KeyCreated:
    """What the log keeps of a key: its SHA-256 and its last four characters."""
    return KeyCreated(sha256=secret_digest(secret), hint="…" + secret[-4:], name=name)


def secret_digest(secret: str) -> str:
    """The hex SHA-256 that a key is found by. Keys are random, so a plain hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def decide(key: Key | None, command: KeyCommand) -> list[KeyEvent]:
    """The events that a command makes of a key; none where it changes nothing."""
    match command:
        case CreateKey(created=created):
            return [created] if key is None else []
        case RevokeKey():
            return [] if key is None or key.revoked_at is not None else [KeyRevoked()]
        case _:
            assert_never(command)


def evolve(key: Key | None, event: KeyEvent, second: int) -> Key:
    """The key after an event that was recorded at `second` (Unix time)."""
    if isinstance(event, KeyCreated):
        return Key(created=event, created_at=second)
    if key is None:
        raise ValueError(f"a key begins with KeyCreated, not with {type(event).__name__}")
    return msgspec.structs.replace(key, revoked_at=second)
