"""Regroups a body into pieces that are worth a step of their own."""

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final

PIECE_BYTES: Final = 256 << 10
"""What a store takes at a time: enough that the step to a thread does not count, and little enough for
hundreds of bodies under way, each of which holds one piece and the making of another."""


async def pieces(body: AsyncIterable[bytes], size: int) -> AsyncGenerator[bytes, None]:
    """The bytes of `body` in pieces of exactly `size` bytes, the last one shorter; none when it is empty.

    Holds less than one piece beside the chunk that `body` gave last.
    """
    held = bytearray()
    async for chunk in body:
        rest = memoryview(chunk)
        while len(held) + len(rest) >= size:
            taken = size - len(held)
            held += rest[:taken]
            rest = rest[taken:]
            yield bytes(held)
            held.clear()
        held += rest
    if held:
        yield bytes(held)
