"""A look at the first request line of an input file while it is uploaded: is this JSONL at all?"""

from typing import Final

from events.json_scan import is_json

_SKIPPED: Final = b"\xef\xbb\xbf \t\r\n"
"""What may stand before the first line: a byte order mark and blank lines."""
_LOOK: Final = 256 << 10
"""Of a longer line only the beginning is judged here; all of it is, when a batch is made of the file."""


class FirstLine:
    """Sees the pieces of a file one after the other and remembers its first line that is not blank."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._complete = False
        self._empty = True

    def see(self, piece: bytes) -> None:
        """The next piece."""
        self._empty = self._empty and not piece
        if self._complete:
            return
        if not self._line:
            piece = piece.lstrip(_SKIPPED)
        end = piece.find(b"\n")
        self._line += (piece if end < 0 else piece[:end])[: _LOOK + 1 - len(self._line)]
        self._complete = end >= 0 or len(self._line) > _LOOK

    def is_jsonl(self) -> bool:
        """Whether the file, now complete, can be JSONL: not empty, and its first line, if any, is JSON.

        Invalid UTF-8 inside a line is left to validation, which can name the line.
        """
        if self._empty:
            return False
        if len(self._line) > _LOOK:
            return self._line.startswith(b"{")
        return not self._line or is_json(self._line.decode("utf-8", "replace").encode())
