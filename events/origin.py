"""Who caused an event: its metadata, recorded and digested with it, and no part of what it says."""

import msgspec


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """`actor` is the id of a key (never the key), a role of the program, or `operator`: somebody at a command
    line with the database's login. `request` is what the answer to a key's request was called, `process` the
    process of a role."""

    actor: str
    request: str | None = None
    process: str | None = None

    def metadata(self) -> str:
        """The JSON text that goes with an event."""
        return msgspec.json.encode(self).decode()


OPERATOR = Origin("operator").metadata()


def actor_of(metadata: str) -> str | None:
    """The actor in an event's metadata; None for an event of a program that did not say it."""
    return msgspec.json.decode(metadata, type=_Said).actor


class _Said(msgspec.Struct):
    actor: str | None = None
