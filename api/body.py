"""Reading a request's body: piece by piece, within a limit, and never waiting for ever."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

from api.errors import ApiError, ClientGone, too_large
from api.request import ApiRequest

JSON_BYTES: Final = 1 << 20
"""Most bytes of a JSON body."""
_SILENCE: Final = 60.0
_LEAST_RATE: Final = 4096
"""Bytes a second that a body must come with in the long run, after a first minute: silence alone would let
one byte a minute hold an upload open for ever. The idea is `MinRate` of Apache's mod_reqtimeout."""


def pieces_of(request: ApiRequest, most: int) -> AsyncIterator[bytes]:
    """The body as it arrives, at most `most` bytes; one that is announced longer is refused unread.

    Raises `ApiError`: 413, at once or while it is read, and 408 for one that comes too slowly; and
    `ClientGone`.
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


def patience(read: int, waited: float) -> float:
    """Seconds that the next piece may take, when `waited` seconds were spent on the `read` bytes so far."""
    return min(_SILENCE, _SILENCE + read / _LEAST_RATE - waited)


async def _received(request: ApiRequest, most: int) -> AsyncIterator[bytes]:
    read, waited = 0, 0.0
    more = True
    while more:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(patience(read, waited)):
                message = await request.receive()
        except TimeoutError:
            raise ApiError(
                408, f"The request's body comes too slowly: it stopped after {read} bytes."
            ) from None
        waited += time.monotonic() - asked
        if message["type"] != "http.request":
            raise ClientGone
        more = message["more_body"]
        read += len(message["body"])
        if read > most:
            raise too_large(most, read)
        if message["body"]:
            yield message["body"]
