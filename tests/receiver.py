"""Who is called by webhooks: an HTTP server on loopback that answers as a test says, and remembers."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PATIENCE = 60.0


@dataclass(frozen=True)
class Heard:
    """One request: its path, its headers (names in lower case), its body, and when it came (loop time)."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float


Answering = Callable[[Heard], bytes | None]
"""The bytes of an answer; None: none ever comes."""


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    """An answer of a status."""
    lines = [f"HTTP/1.1 {status} X", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def taken(_: Heard) -> bytes:
    """The answer of who takes every message."""
    return answer(204)


def silent(_: Heard) -> None:
    """No answer at all."""


@dataclass
class Receiver:
    """`heard` is all that came. `answering` can be changed at any time."""

    host: str
    port: int
    answering: Answering
    heard: list[Heard] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/", host: str | None = None) -> str:
        return f"http://{host or self.host}:{self.port}{path}"

    async def until(self, count: int) -> list[Heard]:
        """Everything heard, as soon as it is so much."""
        async with asyncio.timeout(PATIENCE):
            while len(self.heard) < count:
                self._came.clear()
                await self._came.wait()
        return self.heard

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")[:-2]
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            heard = Heard(first.split(" ")[1], headers, body, asyncio.get_running_loop().time())
            self.heard.append(heard)
            self._came.set()
            said = self.answering(heard)
            if said is None:
                await reader.read()  # until the caller gives up
            else:
                writer.write(said)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def receiver(
    answering: Answering = taken, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver on a free port, for as long as the block runs."""
    found = Receiver(host, 0, answering)
    server = await asyncio.start_server(found._serve, host, 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
