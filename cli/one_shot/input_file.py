"""The input file of a run: read in pieces, known again by size and digest, and what its first line asks."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec

from events.batch import InputFile
from events.errors import NotFound
from events.inputs.validator import supported_endpoints

PIECE: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"
DEFAULT_ENDPOINT: Final = "/v1/chat/completions"
"""Validated against where the first line does not say a better one; validation then says what is wrong."""


class _Asked(msgspec.Struct):
    url: str


async def pieces(path: Path) -> AsyncIterator[bytes]:
    """The content, a piece at a time, read off the event loop. Raises `NotFound` where it cannot be read."""
    try:
        with await asyncio.to_thread(path.open, "rb", 0) as source:
            while piece := await asyncio.to_thread(source.read, PIECE):
                yield piece
    except OSError as error:
        raise NotFound(f"the input {path} cannot be read: {error.strerror}") from error


async def is_what_was(path: Path, before: InputFile) -> bool:
    """Whether a file has exactly the bytes that were taken in before."""
    if (await asyncio.to_thread(path.stat)).st_size != before.size:
        return False
    digest = hashlib.sha256()
    async for piece in pieces(path):
        await asyncio.to_thread(digest.update, piece)
    return digest.hexdigest() == before.sha256


def endpoint_of(path: Path, longest: int) -> str:
    """The endpoint that the first line asks for; `longest` is the most bytes of a line.

    Raises `NotFound` where the file cannot be read.
    """
    try:
        with path.open("rb") as source:
            line = b""
            while not line.strip():
                line = source.readline(longest + 1).removeprefix(_BOM)
                if not line:
                    return DEFAULT_ENDPOINT
    except OSError as error:
        raise NotFound(f"the input {path} cannot be read: {error.strerror}") from error
    try:
        asked = msgspec.json.decode(line, type=_Asked).url
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return DEFAULT_ENDPOINT
    return asked if asked in supported_endpoints() else DEFAULT_ENDPOINT
