"""Finds the request line that has a custom_id, in one pass over the bytes of an input file. Pure.

Lines end, and are counted, as they are when a batch is planned.
"""

import re
from typing import Final, NamedTuple

from events.inputs.request_line import custom_id_and_body
from events.json_scan import string

_BOM: Final = b"\xef\xbb\xbf"
_ESCAPED: Final = re.compile(rb'"custom_id"[ \t\r]*:[ \t\r]*"[^"\\]*\\')
"""A custom_id with an escape in it."""
_ESCAPED_LETTER: Final = b"\\u00"
"""Without one, its name is written as it is."""


class FoundLine(NamedTuple):
    """Where a request line lies: its ordinal from 0, its physical line number from 1, its first byte, and its
    length in bytes without the newline."""

    line: int
    number: int
    start: int
    length: int


class LineSearch:
    """Fed with a file from its start; it holds one line at a time, of at most `longest` bytes."""

    def __init__(self, custom_id: str, longest: int) -> None:
        self._custom_id = custom_id
        self._plain = custom_id.encode("utf-8", "surrogatepass")
        self._longest = longest + len(_BOM) + len(b"\r")
        self._held = bytearray()
        self._length = 0  # of the line being read, so far
        self._start = 0
        self._number = 0
        self._lines = 0

    def feed(self, piece: bytes) -> FoundLine | None:
        """Takes the next bytes of the file; the line, once it is complete."""
        position = 0
        while (newline := piece.find(b"\n", position)) >= 0:
            self._hold(piece[position:newline])
            if found := self._end_line():
                return found
            position = newline + 1
        self._hold(piece[position:])
        return None

    def finish(self) -> FoundLine | None:
        """The last line of the file has no newline: the line, if it is that."""
        return self._end_line() if self._length else None

    def _hold(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length <= self._longest:
            self._held += piece

    def _end_line(self) -> FoundLine | None:
        start, length, raw = self._start, self._length, bytes(self._held)
        self._start += length + len(b"\n")
        self._number += 1
        self._length = 0
        self._held.clear()
        if self._number == 1 and raw.startswith(_BOM):
            raw = raw[len(_BOM) :]
            start += len(_BOM)
        raw = raw.removesuffix(b"\r")
        if length <= self._longest and not raw.strip(b" \t\r"):
            return None
        self._lines += 1
        if length > self._longest or not self._is_it(raw):
            return None
        return FoundLine(self._lines - 1, self._number, start, len(raw))

    def _is_it(self, raw: bytes) -> bool:
        if self._plain not in raw and not _has_escapes(raw):  # most lines are told by this alone
            return False
        try:
            return string(custom_id_and_body(raw)[0]) == self._custom_id
        except (ValueError, KeyError):
            return False


def _has_escapes(raw: bytes) -> bool:
    """Whether the custom_id, or its name, may be written with an escape: False is sure."""
    return b"\\" in raw and (_ESCAPED_LETTER in raw or _ESCAPED.search(raw) is not None)
