"""Reading a request's body: piece by piece, within a limit, and never waiting for ever."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from api.errors import ApiError, ClientGone, too_large
from api.request import ApiRequest

JSON_BYTES: Final = 1 << 20
"""Most bytes of a JSON body."""
_SILENCE: Final = 60.0


def pieces_of(request: ApiRequest, most: int) -> AsyncIterator[bytes]:
    """The body as it arrives, at most `most` bytes; one that is announced longer is refused unread.

    Raises `ApiError`: 413, at once or while it is read, and 408 after a minute of silence; and `ClientGone`.
    """
    announced = announced_bytes(request)
    if announced is not None and announced > most:
        raise too_large(most, announced)
    return _received(request, most)


async def whole_body(request: ApiRequest) -> bytes:
    """A body that fits in memory. Raises as `pieces_of`."""
    return b"".join([piece async for piece in pieces_of(request, JSON_BYTES)])


def announced_bytes(request: ApiRequest) -> int | None:
    """The length that the request's head says its body has."""
    length = request.headers.get("content-length")
    return None if length is None else int(length)


async def _received(request: ApiRequest, most: int) -> AsyncIterator[bytes]:
    read = 0
    more = True
    while more:
        try:
            async with asyncio.timeout(_SILENCE):
                message = await request.receive()
        except TimeoutError:
            raise ApiError(408, f"The request's body did not go on for {_SILENCE:g} s.") from None
        if message["type"] != "http.request":
            raise ClientGone
        more = message["more_body"]
        read += len(message["body"])
        if read > most:
            raise too_large(most, read)
        if message["body"]:
            yield message["body"]
