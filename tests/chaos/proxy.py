"""A network as bad as a test wants it: a proxy for TCP that cuts, stalls, slows and half-closes.

    client ──▶ port of the proxy ──▶ place: an address, or a Unix socket

It knows nothing of what passes. Of each connection it remembers what it did to it, and by which port the
place knew it, so that a test can tell an answer that was lost on the way from one that was not heeded.
"""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

from tests.chaos.checker import Trouble

Place = tuple[str, int] | Path
PIECE: Final = 1 << 16
_RESET: Final = struct.pack("ii", 1, 0)
"""Has a socket send a reset when it is closed, as after a cut."""


class _Reader(asyncio.StreamReader):
    """Also knows that the other end has left before everything that came from it is read."""

    left = False

    def feed_eof(self) -> None:
        self.left = True
        super().feed_eof()

    def set_exception(self, exc: Exception) -> None:
        self.left = True
        super().set_exception(exc)


class Passage:
    """One connection through the proxy. What it holds when its client has left, it drops."""

    def __init__(self, client: _Reader, to_client: asyncio.StreamWriter) -> None:
        self.troubles: list[Trouble] = []
        self._client = client
        self._to_client = to_client
        self._to_place: asyncio.StreamWriter | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay = 0.0
        self._half_closed = False
        self._port = 0

    def cut(self) -> None:
        """Both ends are told at once that the connection is gone; what was on its way is lost."""
        self._met()
        self._over()
        for writer in (self._to_client, self._to_place):
            if writer is not None:
                _reset(writer)

    def stall(self) -> None:
        """Nothing passes, and nobody is told, until `go_on`."""
        if self._flowing.is_set():
            self._flowing.clear()
            self._met()

    def slow(self, delay: float) -> None:
        """Each piece takes so many seconds more, until `go_on`."""
        self._delay = delay
        self._met()

    def half_close(self) -> None:
        """The client is told that nothing more comes; what it sends still passes."""
        self._met()
        self._half_closed = True
        with suppress(OSError):
            self._to_client.write_eof()

    def go_on(self) -> None:
        """Ends a stall, and slowness."""
        self._delay = 0.0
        self._flowing.set()
        self._over()

    async def run(self, place: Place) -> None:
        """Carries everything, both ways, until both ends have said their last."""
        try:
            await self._flowing.wait()
            if self._client.left:
                return
            reader, self._to_place = await _connected(place)
            name = self._to_place.get_extra_info("sockname")
            self._port = name[1] if isinstance(name, tuple) else 0
            for trouble in self.troubles:
                trouble.port = self._port
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(self._client, self._to_place))
                group.create_task(self._carry(reader, self._to_client))
        except* OSError:
            pass  # an end that is gone: the other is told below
        finally:
            self._over()
            writers = [writer for writer in (self._to_client, self._to_place) if writer is not None]
            for writer in writers:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(PIECE):
            if self._delay:
                await asyncio.sleep(self._delay)
            if not self._flowing.is_set():
                await self._flowing.wait()
                if self._client.left:
                    raise ConnectionAbortedError("the client left while nothing passed")
            if not (self._half_closed and sink is self._to_client):
                sink.write(piece)
                await sink.drain()
        await self._flowing.wait()
        sink.write_eof()

    def _met(self) -> None:
        self.troubles.append(Trouble(time.monotonic(), port=self._port))

    def _over(self) -> None:
        for trouble in self.troubles:
            trouble.until = min(trouble.until, time.monotonic())


class Proxy:
    """Listens on `port` of this machine; `place` is where new connections lead to."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.port = 0
        self.passages: list[Passage] = []
        """Those that are open, the oldest first."""
        self._gone: list[Trouble] = []
        self._stalled = False

    @property
    def troubles(self) -> list[Trouble]:
        """What all connections have met with so far."""
        return self._gone + [trouble for passage in self.passages for trouble in passage.troubles]

    def cut(self) -> None:
        """Cuts every connection."""
        for passage in self.passages:
            passage.cut()

    def stall(self) -> None:
        """Stalls every connection, and accepts new ones that get nowhere."""
        self._stalled = True
        for passage in self.passages:
            passage.stall()

    def go_on(self) -> None:
        """All is well again."""
        self._stalled = False
        for passage in self.passages:
            passage.go_on()

    async def carry(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        assert isinstance(client, _Reader)
        passage = Passage(client, to_client)
        if self._stalled:
            passage.stall()
        self.passages.append(passage)
        try:
            await passage.run(self.place)
        finally:
            self.passages.remove(passage)
            self._gone += passage.troubles


@asynccontextmanager
async def proxy_to(place: Place) -> AsyncIterator[Proxy]:
    """A proxy for as long as the block runs."""
    proxy = Proxy(place)
    loop = asyncio.get_running_loop()
    carrying: set[asyncio.Task[None]] = set()
    defects: list[BaseException] = []

    def accepted() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(_Reader(), begin)

    def begin(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = loop.create_task(proxy.carry(client, to_client))
        carrying.add(task)
        task.add_done_callback(ended)

    def ended(task: asyncio.Task[None]) -> None:
        carrying.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            defects.append(error)

    server = await loop.create_server(accepted, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.go_on()
        proxy.cut()
        for task in list(carrying):
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
    if defects:
        raise defects[0]


def place_of(url: str) -> Place:
    """Where a URL leads, with its port; of a database it may be a socket."""
    parts = urlsplit(url)
    folder = parse_qs(parts.query).get("host", [""])[0]
    if folder.startswith("/"):
        return Path(folder) / f".s.PGSQL.{parts.port or 5432}"
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def through(proxy: Proxy, url: str) -> str:
    """The URL that leads through a proxy to where `url` leads."""
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{proxy.port}", query=""))


async def _connected(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(place, Path):
        return await asyncio.open_unix_connection(place)
    return await asyncio.open_connection(*place)


def _reset(writer: asyncio.StreamWriter) -> None:
    end = writer.get_extra_info("socket")
    if end is not None and end.family != socket.AF_UNIX:
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
