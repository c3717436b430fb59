"""Sends webhook messages over HTTP, by aiohttp, to nobody but who may be called.

    URL ─▶ name looked up by a thread of its own ─▶ address judged as its socket is made ─▶ POST ─▶ status

The judgement stands where the connection is made: no name server, no redirect and no spelling of an address
gets around it.
"""

import socket
import time
from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from engine.retry import retry_after
from engine.webhooks.lookups import Lookups
from events.webhooks.post import NotAnswered, PostAnswer
from events.webhooks.public_address import AddressRule

TIMEOUT: Final = 20.0
CONNECT_TIMEOUT: Final = 10.0
_AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


class AddressRefused(OSError):
    """A connection that must not be made, for what its text says of the address."""


class WebhookPoster:
    """See `WebhookPost`. `timeout` covers an attempt from the name to the head of the answer. Proxies and
    netrc of the environment are not used, cookies not kept. Create it in a running event loop."""

    def __init__(self, rule: AddressRule, agent: str, *, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        lookups = Lookups()
        self._sessions = {
            scheme: aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    force_close=True,
                    resolver=_Resolver(lookups),
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

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> PostAnswer:
        """See `WebhookPost.send`."""
        try:
            target = URL(url)
            response = await self._sessions[target.scheme].post(
                target, data=body, headers=headers, allow_redirects=False
            )
            # What it says beyond its head is of no interest: it is not read.
            response.close()
            return PostAnswer(response.status, retry_after(response.headers, time.time()))
        # RuntimeError is what a closed session raises, and a system that has no thread left.
        except (aiohttp.ClientError, OSError, ValueError, KeyError, RuntimeError) as error:
            failure = NotAnswered(_what(error, self._timeout))
        raise failure

    async def close(self) -> None:
        """Cuts what is under way."""
        for session in self._sessions.values():
            await session.close()


class _Resolver(AbstractResolver):
    """Looks names up as the system does."""

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._lookups.addresses(host, port, family)
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
        """Whatever is under way ends by itself."""


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
        case RuntimeError():
            return "this server could not send it: it is ending, or out of threads"
        case _:
            return "the connection was cut before the answer"


def _named(host: str) -> str:
    """What is said of the address of a host: itself where it stands in the URL, but not where a name leads,
    which may be known inside this network alone."""
    try:
        return str(ip_address(host))
    except ValueError:
        return "its name leads to an address that"
