"""The HTTP server: uvicorn on a socket of ours, stopped by us and not by signals of its own."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final

import uvicorn
from litestar import Litestar

from api.http_protocol import EnvelopeProtocol
from events.errors import SettingsError

_KEEP_ALIVE: Final = 75
"""Seconds that an idle connection is kept, as nginx keeps it: longer than the pools of the SDKs (5 s) and of
load balancers (60 s) do, so that no request meets a connection that is just being closed."""


class HttpServer(uvicorn.Server):
    """Serves an app on a bound socket until `stop` is called; requests under way get `grace` seconds."""

    def __init__(self, app: Litestar, listener: socket.socket, grace: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=EnvelopeProtocol,
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                proxy_headers=False,  # which proxies to believe is a setting: `api/source_address.py`
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=max(1, round(grace)),
            )
        )
        self._listener = listener
        self._accepting = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the command."""
        yield

    async def run_until_stopped(self) -> None:
        """Serves until `stop`."""
        await self.serve(sockets=[self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to take requests."""
        await super().startup(sockets)
        self._accepting.set()

    async def accepting(self) -> None:
        """Returns when requests are taken."""
        await self._accepting.wait()

    def stop(self) -> None:
        """Takes no more requests; those under way end first."""
        self.should_exit = True

    def hurry(self) -> None:
        """Cuts the requests that `stop` waits for."""
        self.force_exit = True
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `SettingsError` where the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {host}:{port} ({error.strerror}): give another address, or --port 0"
        ) from None
    listener.setblocking(False)
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(listener: socket.socket) -> str:
    """Where clients on this machine find a listening socket, with its /v1."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "127.0.0.1" if listener.family == socket.AF_INET else "::1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
