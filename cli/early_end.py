"""The end of a process that serves and has nothing to drain: not yet, or not any more.

It imports next to nothing, so that it is there before all else is. In between there is an `Ending`
(`cli/process.py`).
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends_well_when_told() -> Iterator[None]:
    """SIGTERM ends the program at once, and well, while the block runs; after that its end is under way. The
    first process of a container would not even hear it otherwise."""

    def told(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(0)

    signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
