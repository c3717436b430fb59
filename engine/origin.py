"""What the roles of this process say of themselves in the events that they cause."""

import os
import socket
from typing import Final

from events.origin import Origin

PROCESS: Final = f"{socket.gethostname()}/{os.getpid()}"
"""Which process this is: its host, which in a cluster is its pod, and its number there."""


def origin(role: str, traceparent: str | None = None) -> str:
    """The metadata of an event that a role causes, for a batch within the trace of its creation."""
    return Origin(role, process=PROCESS, traceparent=traceparent).metadata()
