"""An answer that is sent piece by piece, no faster than the client takes it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Final, TypeVar

from litestar.types import Receive, Scope, Send

_PATIENCE: Final = 120.0
"""Seconds that a client may take for one piece (at most a few MiB) before it counts as gone."""

T = TypeVar("T")


class Stream:
    """A status, headers, and a body in pieces; None: the head alone.

    Ends early when the client is gone; when the source of the pieces fails under way the connection is cut,
    so that no client takes a part for the whole.
    """

    def __init__(
        self, status: int, headers: Mapping[str, str], pieces: AsyncGenerator[bytes, None] | None
    ) -> None:
        self._status = status
        self._headers = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        if self._pieces is not None and not await _sent(self._pieces, receive, send):
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def begun(pieces: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The same pieces, the first of them made already: what goes wrong at once is raised here, before the
    answer begins."""
    try:
        first = [await anext(pieces)]
    except StopAsyncIteration:
        first = []
    return _joined(first, pieces)


async def _joined(first: Sequence[T], rest: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    try:
        for piece in first:
            yield piece
        async for piece in rest:
            yield piece
    finally:
        if isinstance(rest, AsyncGenerator):
            await rest.aclose()


async def _sent(pieces: AsyncGenerator[bytes, None], receive: Receive, send: Send) -> bool:
    """Sends the pieces; False where the client left before their end."""
    sending = asyncio.create_task(_send_pieces(pieces, send))
    gone = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            return False
        sending.result()
        return True
    finally:
        for task in (sending, gone):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _send_pieces(pieces: AsyncGenerator[bytes, None], send: Send) -> None:
    async with aclosing(pieces):
        async for piece in pieces:
            async with asyncio.timeout(_PATIENCE):
                await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _disconnect(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
