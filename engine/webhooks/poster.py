"""Sends webhook messages over HTTP, by aiohttp, to nobody but who may be called.

    URL ─▶ name looked up by threads of its own ─▶ address judged as its socket is made ─▶ POST ─▶ status

The judgement stands where the connection is made: no name server, no redirect and no spelling of an address
gets around it.
"""

import asyncio
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from events.webhooks.post import NotAnswered
from events.webhooks.public_address import AddressRule

TIMEOUT: Final = 20.0
CONNECT_TIMEOUT: Final = 10.0
LOOKUPS: Final = 32
"""Names looked up at once. They have threads of their own: a name server that does not answer holds up only
messages, and none of what else waits for a thread."""
_AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


class AddressRefused(OSError):
    """A connection that must not be made, for what its text says of the address."""


class WebhookPoster:
    """See `WebhookPost`. `timeout` covers an attempt from the name to the head of the answer. Proxies and
    netrc of the environment are not used, cookies not kept. Create it in a running event loop."""

    def __init__(self, rule: AddressRule, agent: str, *, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="webhook-name")
        self._sessions = {
            scheme: aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    force_close=True,
                    resolver=_Resolver(self._lookups),
                    use_dns_cache=False,
                    socket_factory=partial(_judged_socket, rule, scheme == "https"),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"content-type": "application/json", "user-agent": agent},
                timeout=aiohttp.ClientTimeout(total=timeout, connect=min(CONNECT_TIMEOUT, timeout)),
                trust_env=False,
            )
            for scheme in ("http", "https")
        }

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """See `WebhookPost.send`."""
        try:
            target = URL(url)
            response = await self._sessions[target.scheme].post(
                target, data=body, headers=headers, allow_redirects=False
            )
            # What it says beyond its status is of no interest: it is not read.
            response.close()
            return response.status
        except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
            failure = NotAnswered(_what(error, self._timeout))
        raise failure

    async def close(self) -> None:
        """Cuts what is under way."""
        for session in self._sessions.values():
            await session.close()
        self._lookups.shutdown(wait=False, cancel_futures=True)


class _Resolver(AbstractResolver):
    """Looks names up as the system does, in given threads."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=family,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for family, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """The threads are another's."""


def _judged_socket(rule: AddressRule, secure: bool, found: _AddrInfo) -> socket.socket:
    """The socket for a connection to an address. Raises `AddressRefused` where it must not be made."""
    family, kind, protocol, _, address = found
    refusal = rule.refusal(str(address[0]), secure=secure)
    if refusal is not None:
        raise AddressRefused(refusal)
    return socket.socket(family, kind, protocol)


def _what(error: Exception, timeout: float) -> str:
    """A failure in a few words, without what a receiver may have sent."""
    match error:
        case TimeoutError():
            return f"no answer within {timeout:g} s"
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return "no address was found for the name in its URL"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "no trusted TLS connection"
        case aiohttp.ClientConnectorError(os_error=AddressRefused() as refused):
            return f"not called: {_named(error.host)} {refused}"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "the connection was refused"
        case aiohttp.ClientConnectorError():
            return "no connection"
        case aiohttp.ClientResponseError():
            return "the answer was no HTTP"
        case ValueError() | KeyError():
            return "its URL cannot be called"
        case _:
            return "the connection was cut before the answer"


def _named(host: str) -> str:
    """What is said of the address of a host: itself where it stands in the URL, but not where a name leads,
    which may be known inside this network alone."""
    try:
        return str(ip_address(host))
    except ValueError:
        return "its name leads to an address that"
