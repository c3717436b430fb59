"""Looks names up in threads that nothing waits for: neither other work that needs a thread, nor the end of
the process. A name server that does not answer holds up only who asked for its names."""

import asyncio
import socket
from contextlib import suppress
from threading import Thread
from typing import Final

AT_ONCE: Final = 32
"""Names looked up at the same time. One that nobody waits for still is, until the system gives up."""
Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[object, ...]]


class Lookups:
    """At most `AT_ONCE` threads. Create it in a running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._free = asyncio.Semaphore(AT_ONCE)

    async def addresses(self, host: str, port: int, family: socket.AddressFamily) -> list[Found]:
        """What `socket.getaddrinfo` finds, or raises. Raises `RuntimeError` where there is no thread left."""
        await self._free.acquire()
        found: asyncio.Future[list[Found]] = self._loop.create_future()
        # A pool would have the interpreter wait for its threads at exit; it does not wait for daemons.
        thread = Thread(
            target=self._look_up, args=(found, host, port, family), name="webhook-name", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._free.release()
            raise
        return await found

    def _look_up(
        self, found: "asyncio.Future[list[Found]]", host: str, port: int, family: socket.AddressFamily
    ) -> None:
        result: list[Found] | Exception
        try:
            result = list(socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM))
        except Exception as error:
            result = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._tell, found, result)

    def _tell(self, found: "asyncio.Future[list[Found]]", result: list[Found] | Exception) -> None:
        self._free.release()
        if found.done():  # nobody waits any longer
            return
        if isinstance(result, Exception):
            found.set_exception(result)
        else:
            found.set_result(result)
