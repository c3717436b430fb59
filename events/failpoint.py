"""Named points at each side of each commit, publish, ack and put, where a test can break a real process.

`BATCHMILL_FAILPOINTS` is a comma-separated list of `name=action[@n]`; `@n` acts on the n-th passage (default
1) and only then. Unset, a point costs one global lookup. The actions:

- `kill`: SIGKILL to the own process group.
- `raise`: what a database says that went away, so that nobody knows whether it did what was asked.
- `hang`: SIGSTOP to the own process: it stands still there, beats and all, until it is continued.
"""

import os
import signal
from typing import Final

from events.errors import BatchmillError, DatabaseUnavailable

ENVIRONMENT: Final = "BATCHMILL_FAILPOINTS"
NAMES: Final = (
    "append.before",
    "append.after",
    "flush.before",
    "flush.after",
    "erase.before",
    "erase.after",
    "put.before",
    "put.after",
    "delete.before",
    "delete.after",
    "announce.before",
    "announce.after",
    "offer.before",
    "offer.after",
    "claim.before",
    "claim.after",
    "hand_back.before",
    "hand_back.after",
    "hand_out.before",
    "hand_out.after",
    "work.ack",
    "checkpoint.before",
    "checkpoint.after",
    "send.before",
    "send.after",
    "copy.before",
    "copy.after",
    "swap.before",
    "swap.after",
    "segment.before",
    "segment.after",
    "prune.before",
    "prune.after",
)
"""Every point there is; a name that is not here is refused."""


class FailpointRaised(DatabaseUnavailable):
    """The error that a failpoint was told to raise."""


class _Armed:
    def __init__(self, action: str, passage: int) -> None:
        self.action = action
        self.passage = passage
        self.passed = 0


_armed: dict[str, _Armed] = {}


def arm(text: str) -> None:
    """Arms the points named in `text` (the form of `BATCHMILL_FAILPOINTS`); an empty text disarms all.

    Raises `BatchmillError` for an unknown name or action.
    """
    _armed.clear()
    for item in filter(None, text.split(",")):
        name, _, action = item.partition("=")
        action, _, passage = action.partition("@")
        if name not in NAMES or action not in ("kill", "raise", "hang"):
            raise BatchmillError(
                f"{ENVIRONMENT}: no failpoint {item!r}; actions are kill, raise, hang; points are "
                + ", ".join(NAMES)
            )
        _armed[name] = _Armed(action, int(passage or 1))


async def at(name: str) -> None:
    """Passes the point `name`: does nothing unless a test armed it."""
    if not _armed:
        return
    point = _armed.get(name)
    if point is None:
        return
    point.passed += 1
    if point.passed != point.passage:
        return
    match point.action:
        case "kill":
            os.killpg(os.getpgid(0), signal.SIGKILL)
        case "raise":
            raise FailpointRaised(f"failpoint {name}")
        case "hang":
            os.kill(os.getpid(), signal.SIGSTOP)


arm(os.environ.get(ENVIRONMENT, ""))
