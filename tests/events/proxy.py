"""A relay in front of Postgres that a test can break at an exact byte of the conversation."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal
from urllib.parse import parse_qs, unquote, urlsplit

Direction = Literal["call", "answer"]
Meet = Callable[[], Literal["pass", "drop", "hold the end"]]
SYNC: Final = b"S\x00\x00\x00\x04"
"""The message that ends a call, and with it its transaction."""


class Proxy:
    """Relays every connection to one server. `url` leads through it."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._next: dict[Direction, Meet] = {}
        self._relays: set[asyncio.Task[None]] = set()
        self.url = ""

    def on_next(self, direction: Direction, meet: Meet) -> None:
        """Has `meet` called with the next bytes in this direction, before they go on. `drop`: these bytes
        are lost and the connection is cut on both sides. `hold the end`: of a call, all goes on but its end,
        which never comes."""
        self._next[direction] = meet

    def stall_next_call(self) -> asyncio.Event:
        """Holds the end of the next call for good; set when that has happened."""
        stalled = asyncio.Event()

        def meet() -> Literal["hold the end"]:
            stalled.set()
            return "hold the end"

        self.on_next("call", meet)
        return stalled

    def cut_next(self, direction: Direction) -> asyncio.Event:
        """Loses the next bytes in this direction with their connection; set when that has happened."""
        cut = asyncio.Event()

        def meet() -> Literal["drop"]:
            cut.set()
            return "drop"

        self.on_next(direction, meet)
        return cut

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways, until either side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        folder = parse_qs(self._parts.query).get("host", [""])[0]
        if folder:
            to_server = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{self._parts.port or 5432}")
        else:
            to_server = await asyncio.open_connection(self._parts.hostname, self._parts.port or 5432)
        try:
            async with asyncio.TaskGroup() as group:
                calls = group.create_task(self._pump("call", reader, to_server[1]))
                answers = group.create_task(self._pump("answer", to_server[0], writer))
                await asyncio.wait({calls, answers}, return_when=asyncio.FIRST_COMPLETED)
                calls.cancel()
                answers.cancel()
        finally:
            self._relays.discard(task)
            for side in (writer, to_server[1]):
                side.transport.abort()

    async def _pump(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                meet = self._next.pop(direction, None)
                fate = "pass" if meet is None else meet()
                if fate == "drop":
                    return
                held = fate == "hold the end" and data.endswith(SYNC)
                writer.write(data.removesuffix(SYNC) if held else data)
                await writer.drain()
                if held:
                    await asyncio.Event().wait()

    async def close(self) -> None:
        for task in list(self._relays):
            task.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[Proxy]:
    """A proxy to the server of `url`, for as long as the block runs."""
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy.relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    parts = urlsplit(url)
    user = unquote(parts.netloc.rpartition("@")[0])
    proxy.url = f"postgresql://{user}@127.0.0.1:{port}{parts.path}?sslmode=disable"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
