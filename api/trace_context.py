"""The trace that a client's request belongs to: its `traceparent`, as W3C's Trace Context has it."""

import re
from collections.abc import Sequence
from typing import Final

_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KNOWN_FLAGS: Final = 0x03
"""Sampled, and random trace id."""


def trace_parent(headers: Sequence[str]) -> str | None:
    """The one valid `traceparent` among the values of that header, in version 00; None where there is none.

    One of a later version is read as far as version 00 goes, as the standard asks.
    """
    found = _PARENT.fullmatch(headers[0].strip()) if len(headers) == 1 else None
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or not (int(trace, 16) and int(parent, 16)):
        return None
    return f"00-{trace}-{parent}-{int(flags, 16) & _KNOWN_FLAGS:02x}"
