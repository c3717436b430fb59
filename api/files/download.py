"""Sends the content of a file, whole or a range of it, no faster than the client takes it."""

from collections.abc import AsyncGenerator
from urllib.parse import quote

import msgspec

from api.files.ranges import Span
from api.stream import Stream, begun
from storage.store import Store


class Content(msgspec.Struct, frozen=True):
    """What is sent: `pieces` are the bytes of `span`, or of all `size` bytes; None: the head alone."""

    pieces: AsyncGenerator[bytes, None] | None
    size: int
    etag: str
    filename: str
    span: Span | None = None


def download(content: Content) -> Stream:
    """An answer that is the content of a file."""
    return Stream(200 if content.span is None else 206, _headers(content), content.pieces)


async def opened(store: Store, key: str, span: Span) -> AsyncGenerator[bytes, None]:
    """The bytes of an object, the first ones read already: what is missing is known before the answer begins.
    Raises as the store does."""
    return await begun(store.get(key, span.start, span.end))


def attachment(filename: str) -> str:
    """A `Content-Disposition` for any file name (RFC 6266): a plain one, and one in UTF-8 where needed."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in filename)
    if plain == filename:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"


def _headers(content: Content) -> dict[str, str]:
    span = content.span or Span(0, content.size)
    headers = {
        "content-type": "application/octet-stream",
        "content-length": str(span.end - span.start),
        "content-disposition": attachment(content.filename),
        "accept-ranges": "bytes",
        "etag": content.etag,
        "x-content-type-options": "nosniff",
    }
    if content.span is not None:
        headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{content.size}"
    return headers
