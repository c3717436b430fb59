"""Who caused an event: its metadata, recorded and digested with it, and no part of what it says."""

import os
import socket
from typing import Final

import msgspec

PROCESS: Final = f"{socket.gethostname()}/{os.getpid()}"
"""Which process this is: its host, which in a cluster is its pod, and its number there."""


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """`actor` is the id of a key (never the key), a role of the program, or `operator`: somebody at a command
    line with the database's login. What is not known, or not to be kept, is None.

    Of a key's request: `request` is what its answer was called, `client_request` what the client called it,
    `address` where it came from. Of a role: `process` is the process that has it. Of both: `traceparent` is
    the W3C trace context of the request that began it all.
    """

    actor: str | None = None
    request: str | None = None
    process: str | None = None
    client_request: str | None = None
    address: str | None = None
    traceparent: str | None = None

    def metadata(self) -> str:
        """The JSON text that goes with an event."""
        return msgspec.json.encode(self).decode()

    @property
    def trace_id(self) -> str | None:
        """The trace that it belongs to: 32 hex digits."""
        return None if self.traceparent is None else self.traceparent.split("-")[1]

    @classmethod
    def of(cls, metadata: str) -> "Origin":
        """The origin in an event's metadata."""
        return msgspec.json.decode(metadata, type=cls)


OPERATOR = Origin("operator").metadata()
