"""Sends the content of a file, whole or a range of it, no faster than the client takes it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Final
from urllib.parse import quote

import msgspec
from litestar.types import Receive, Scope, Send

from api.ranges import Span
from storage.store import Store

_PATIENCE: Final = 120.0
"""Seconds that a client may take for one piece (at most a few MiB) before it counts as gone."""


class Content(msgspec.Struct, frozen=True):
    """What is sent: `pieces` are the bytes of `span`, or of all `size` bytes; None: the head alone."""

    pieces: AsyncGenerator[bytes, None] | None
    size: int
    etag: str
    filename: str
    span: Span | None = None


class Download:
    """An answer that is the content of a file.

    Ends early when the client is gone; when the store fails under way the connection is cut, so that no
    client takes a part for the whole.
    """

    def __init__(self, content: Content) -> None:
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        status = 200 if self._content.span is None else 206
        await send({"type": "http.response.start", "status": status, "headers": _headers(self._content)})
        if self._content.pieces is not None:
            gone = asyncio.create_task(_disconnect(receive))
            try:
                await _send_pieces(self._content.pieces, send, gone)
            finally:
                gone.cancel()
                with suppress(asyncio.CancelledError):
                    await gone
            if gone.done() and not gone.cancelled():
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def opened(store: Store, key: str, span: Span) -> AsyncGenerator[bytes, None]:
    """The bytes of an object, the first ones read already: what is missing is known before the answer begins.
    Raises as the store does."""
    pieces = store.get(key, span.start, span.end)
    return _joined(await anext(pieces, b""), pieces)


def attachment(filename: str) -> str:
    """A `Content-Disposition` for any file name (RFC 6266): a plain one, and one in UTF-8 where needed."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in filename)
    if plain == filename:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"


def _headers(content: Content) -> list[tuple[bytes, bytes]]:
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
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        async for piece in rest:
            yield piece
    finally:
        if isinstance(rest, AsyncGenerator):
            await rest.aclose()


async def _send_pieces(pieces: AsyncGenerator[bytes, None], send: Send, gone: "asyncio.Task[None]") -> None:
    async with aclosing(pieces):
        async for piece in pieces:
            if gone.done():
                return
            async with asyncio.timeout(_PATIENCE):
                await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _disconnect(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
