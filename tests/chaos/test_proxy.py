"""The proxy does to connections what it is told, and nothing of its own accord."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.proxy import Place, Proxy, proxy_to

MUCH: Final = bytes(range(256)) * 4096
A_WHILE: Final = 0.1
"""Seconds within which what passes at all would have passed."""


@dataclass
class End:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, words: bytes) -> None:
        self.writer.write(words)

    async def hear(self, words: bytes) -> bool:
        """Whether these words come next."""
        return await self.reader.readexactly(len(words)) == words

    async def hears_nothing(self) -> bool:
        """Whether neither words nor an end come for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(A_WHILE):
                await self.reader.read(1)
                return False
        return True

    async def is_reset(self) -> bool:
        """Whether the connection was cut, and not closed in order."""
        try:
            return await self.reader.read(-1) == b"neither"
        except ConnectionResetError:
            return True


class Server:
    """A server that hands its ends of connections to the test."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[End] = asyncio.Queue()
        self.ends: list[End] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ends.append(End(reader, writer))
        await self._came.put(self.ends[-1])

    async def next(self) -> End:
        return await self._came.get()


@pytest.fixture(params=["address", "unix socket"])
async def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Proxy, Server]]:
    server = Server()
    place: Place = tmp_path / "socket"
    if request.param == "address":
        listening = await asyncio.start_server(server.take, "127.0.0.1", 0)
        place = listening.sockets[0].getsockname()
    else:
        listening = await asyncio.start_unix_server(server.take, tmp_path / "socket")
    async with proxy_to(place) as proxy:
        yield proxy, server
    listening.close()
    for end in server.ends:
        end.writer.close()


async def connect(proxy: Proxy) -> End:
    return End(*await asyncio.open_connection("127.0.0.1", proxy.port))


async def pair(proxied: tuple[Proxy, Server]) -> tuple[End, End]:
    """The two ends of a new connection."""
    proxy, server = proxied
    return await connect(proxy), await server.next()


async def test_everything_arrives_both_ways_until_each_side_has_ended(proxied: tuple[Proxy, Server]) -> None:
    client, server = await pair(proxied)
    client.say(MUCH)
    client.writer.write_eof()
    assert await server.reader.read(-1) == MUCH
    server.say(MUCH)
    server.writer.close()
    assert await client.reader.read(-1) == MUCH
    assert proxied[0].troubles == []
    client.writer.close()


async def test_a_cut_ends_both_sides_at_once(proxied: tuple[Proxy, Server]) -> None:
    client, server = await pair(proxied)
    client.say(b"question")
    assert await server.hear(b"question")
    proxied[0].cut()
    assert await client.is_reset()
    [trouble] = proxied[0].troubles
    assert trouble.until - trouble.at < A_WHILE
    client.writer.close()


async def test_a_stall_passes_nothing_and_later_everything(proxied: tuple[Proxy, Server]) -> None:
    client, server = await pair(proxied)
    proxied[0].stall()
    client.say(b"question")
    server.say(b"word")
    assert await server.hears_nothing()
    assert await client.hears_nothing()
    proxied[0].go_on()
    assert await server.hear(b"question")
    assert await client.hear(b"word")
    client.writer.close()


async def test_a_stalled_proxy_accepts_and_connects_nobody(proxied: tuple[Proxy, Server]) -> None:
    proxy, server = proxied
    proxy.stall()
    client = await connect(proxy)
    client.say(b"question")
    await asyncio.sleep(A_WHILE)
    assert server.ends == []
    proxy.go_on()
    assert await (await server.next()).hear(b"question")
    client.writer.close()


async def test_what_a_stall_holds_goes_with_its_client(proxied: tuple[Proxy, Server]) -> None:
    client, server = await pair(proxied)
    proxied[0].stall()
    client.say(b"question")
    await asyncio.sleep(A_WHILE)
    client.writer.close()
    await client.writer.wait_closed()
    await asyncio.sleep(A_WHILE)
    proxied[0].go_on()
    assert await server.reader.read(-1) == b""


async def test_one_connection_may_stall_alone(proxied: tuple[Proxy, Server]) -> None:
    client, server = await pair(proxied)
    other_client, other_server = await pair(proxied)
    proxied[0].passages[0].stall()
    client.say(b"question")
    other_client.say(b"question")
    assert await other_server.hear(b"question")
    assert await server.hears_nothing()
    client.writer.close()
    other_client.writer.close()


async def test_a_half_closed_connection_still_carries_what_the_client_says(
    proxied: tuple[Proxy, Server],
) -> None:
    client, server = await pair(proxied)
    proxied[0].passages[0].half_close()
    assert await client.reader.read(-1) == b""
    client.say(b"question")
    assert await server.hear(b"question")
    server.say(b"answer")
    client.say(b"question")
    assert await server.hear(b"question")
    client.writer.close()


async def test_a_slow_connection_carries_everything_later(proxied: tuple[Proxy, Server]) -> None:
    client, server = await pair(proxied)
    proxied[0].passages[0].slow(2 * A_WHILE)
    client.say(b"question")
    assert await server.hears_nothing()
    assert await server.hear(b"question")
    client.writer.close()


async def test_a_trouble_names_the_connection_as_the_place_knows_it(proxied: tuple[Proxy, Server]) -> None:
    proxy, _ = proxied
    client, server = await pair(proxied)
    proxy.stall()
    proxy.cut()
    name = server.writer.get_extra_info("peername")
    assert {trouble.port for trouble in proxy.troubles} == {name[1] if isinstance(name, tuple) else 0}
    client.writer.close()


async def test_a_place_that_is_away_is_told_to_the_client(tmp_path: Path) -> None:
    async with proxy_to(tmp_path / "nobody") as proxy:
        client = await connect(proxy)
        assert await client.reader.read(-1) == b""
        client.writer.close()
