"""One API key as a stream of events; the key itself is shown once and never kept.

KeyCreated ──KeyRestricted──▶ narrower ──KeyRevoked──▶ revoked
     └────────────KeyRevoked──▶ revoked
"""

import hashlib
import secrets
from collections.abc import Collection
from typing import Final, Literal, assert_never

import msgspec

KEY_PREFIX: Final = "sk-bm-"
Scope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "write", "admin")
"""`read` sees everything of the project, `write` makes and ends batches, files and uploads, `admin` says how
the project is run, such as who is told of its batches. Each has those before it in it."""


class KeyCreated(msgspec.Struct, frozen=True):
    """A key of a project, with all scopes and for ever. `hint` is what a list may show of it."""

    sha256: str
    hint: str
    name: str | None = None


class KeyRestricted(msgspec.Struct, frozen=True):
    """The key has these scopes only, and opens nothing any more `expires_after` seconds after it was created;
    None: it does not expire.

    An event, not fields of `KeyCreated`: an older program would leave those out of the row it writes, and the
    key would be a full one for all. As it is it parks the key, and a parked key opens nothing.
    """

    scopes: tuple[Scope, ...] = SCOPES
    expires_after: int | None = None


class KeyRevoked(msgspec.Struct, frozen=True):
    """The key opens nothing any more."""


KeyEvent = KeyCreated | KeyRestricted | KeyRevoked


class Key(msgspec.Struct, frozen=True):
    """A key as its events made it; times are Unix seconds by the database's clock. `expires_at` is the first
    second in which it opens nothing."""

    created: KeyCreated
    created_at: int
    revoked_at: int | None = None
    scopes: tuple[Scope, ...] = SCOPES
    expires_at: int | None = None

    def expired(self, now: int) -> bool:
        """Whether its time is over at `now`, by the database's clock."""
        return self.expires_at is not None and now >= self.expires_at


class CreateKey(msgspec.Struct, frozen=True):
    """Give a project a key; without `restricted` one with all scopes and for ever."""

    created: KeyCreated
    restricted: KeyRestricted | None = None


class RevokeKey(msgspec.Struct, frozen=True):
    """Take a key away."""


KeyCommand = CreateKey | RevokeKey


def fresh_secret() -> str:
    """A new API key: 256 random bits behind a prefix that secret scanners can find."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def describe_secret(secret: str, name: str | None = None) -> KeyCreated:
    """What the log keeps of a key: its SHA-256 and its last four characters."""
    return KeyCreated(sha256=secret_digest(secret), hint="…" + secret[-4:], name=name)


def restriction(scopes: Collection[Scope], expires_after: int | None = None) -> KeyRestricted | None:
    """What makes a key one of these scopes, and those that are in them; None where nothing is taken away."""
    highest = max(map(SCOPES.index, scopes), default=-1)
    restricted = KeyRestricted(SCOPES[: highest + 1], expires_after)
    return None if restricted == KeyRestricted() else restricted


def secret_digest(secret: str) -> str:
    """The hex SHA-256 that a key is found by. Keys are random, so a plain hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def decide(key: Key | None, command: KeyCommand) -> list[KeyEvent]:
    """The events that a command makes of a key; none where it changes nothing."""
    match command:
        case CreateKey(created=created, restricted=restricted):
            if key is not None:
                return []
            return [created] if restricted is None else [created, restricted]
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
    if isinstance(event, KeyRestricted):
        expires_at = None if event.expires_after is None else key.created_at + event.expires_after
        return msgspec.structs.replace(key, scopes=event.scopes, expires_at=expires_at)
    return msgspec.structs.replace(key, revoked_at=second)
