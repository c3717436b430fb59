"""Which keys have signed checkpoints, as a stream of events.

The event that names a new key is itself a leaf of the tree. As long as both keys are at hand, both sign: so
whoever trusts the old one sees it vouch for the new one. What an auditor trusts is theirs to say; the stream
tells when a key came into use, and after which.
"""

from typing import Final

import msgspec

STREAM: Final = "audit-keys"
PROJECT: Final = "_batchmill"
"""Of no project: no project can have this name."""


class AuditKeyAdopted(msgspec.Struct, frozen=True):
    """From here on `key` signs checkpoints, written as a public key of a note; `previous` did before it."""

    key: str
    previous: str | None = None


AuditEvent = AuditKeyAdopted


class AdoptedKey(msgspec.Struct, frozen=True):
    """A public key and when it came into use, in Unix seconds."""

    key: str
    adopted_at: int


class AuditKeys(msgspec.Struct, frozen=True):
    """The keys that have signed, the first one first."""

    keys: tuple[AdoptedKey, ...] = ()

    @property
    def current(self) -> str:
        """The key that signs now."""
        return self.keys[-1].key


class AdoptKey(msgspec.Struct, frozen=True):
    """The sealer was given this key to sign with."""

    key: str


def decide(keys: AuditKeys | None, command: AdoptKey) -> list[AuditEvent]:
    """The events that a command makes; none where the key is in use already."""
    if keys is None:
        return [AuditKeyAdopted(command.key)]
    return [] if command.key == keys.current else [AuditKeyAdopted(command.key, keys.current)]


def evolve(keys: AuditKeys | None, event: AuditEvent, second: int) -> AuditKeys:
    """The keys after an event that was recorded at `second` (Unix time)."""
    before = () if keys is None else keys.keys
    return AuditKeys((*before, AdoptedKey(event.key, second)))
