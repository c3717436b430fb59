"""Range requests for one range of bytes (RFC 9110, sections 13.1.5 and 14)."""

import re
from typing import Final, NamedTuple

from api.numbers import DIGITS

_ONE_RANGE: Final = re.compile(rf"\s*(\d{{0,{DIGITS}}})\s*-\s*(\d{{0,{DIGITS}}})\s*")


class Span(NamedTuple):
    """Bytes from `start` up to, not including, `end`."""

    start: int
    end: int


class Unsatisfiable(ValueError):
    """No byte of what is asked for exists."""


def asked_span(range_: str | None, if_range: str | None, size: int, etag: str) -> Span | None:
    """The part of `size` bytes that the headers `Range` and `If-Range` ask for; None: all of it.

    A range that is malformed, in another unit, one of several, or made on another version of the content is
    ignored, as the RFC allows. Raises `Unsatisfiable`.
    """
    if range_ is None or (if_range is not None and if_range.strip() != etag):
        return None
    unit, _, text = range_.partition("=")
    match = _ONE_RANGE.fullmatch(text)
    if unit.strip().lower() != "bytes" or match is None or match.group(1, 2) == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise Unsatisfiable(f"bytes {text.strip()} of {size} bytes")
    return Span(start, end)
