"""What surrounds every exchange: ids and times in its headers, and an orderly end.

An answer given before the request's body was read ends the connection the way nginx does (lingering close):
the rest of the body is read and thrown away for a while, so that the client sees the answer and not a reset.
"""

import asyncio
import secrets
import time
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

from api.errors import ApiError
from api.request_head import refusal

VERSION: Final = b"2020-10-01"
"""`openai-version`, the only one there has ever been."""
_UNREAD_BYTES: Final = 64 << 10
"""A body up to this long is thrown away without ending the connection."""
_LINGER: Final = 10.0
_LINGER_SILENCE: Final = 2.0


class Exchange:
    """Wraps the application; calls it only for requests whose head is in order."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        refused = refusal(scope)
        if refused is None:
            await self._app(scope, exchange.receive, exchange.send)
        else:
            await exchange.refuse(refused)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        self._started = time.perf_counter()
        self._scope = scope
        self._receive = receive
        self._send = send
        self._request_id = "req_" + secrets.token_hex(16)
        self._waits = any(name == b"expect" for name, _ in scope["headers"])
        self._body_read = not _is_long(scope, 0 if self._waits else _UNREAD_BYTES)
        self._closes = False
        scope.setdefault("state", {})["request_id"] = self._request_id

    async def receive(self) -> ReceiveMessage:
        self._waits = False
        message = await self._receive()
        self._body_read = message["type"] != "http.request" or not message["more_body"]
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._closes = not self._body_read
            message["headers"] = [*message["headers"], *self._headers()]
        elif self._lingers() and message["type"] == "http.response.body" and not message.get("more_body"):
            await self._send({"type": "http.response.body", "body": message["body"], "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def refuse(self, error: ApiError) -> None:
        """Answers without the application."""
        body = error.body()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def _headers(self) -> list[tuple[bytes, bytes]]:
        took = round((time.perf_counter() - self._started) * 1000)
        headers = [
            (b"x-request-id", self._request_id.encode()),
            (b"openai-processing-ms", str(took).encode()),
            (b"openai-version", VERSION),
        ]
        project: str = self._scope["state"].get("project_id", "")
        if project and project.isascii() and project.isprintable():
            headers.append((b"openai-organization", project.encode()))
        headers += self._scope["state"].get("rate_headers", [])
        if self._closes:
            headers.append((b"connection", b"close"))
        return headers

    def _lingers(self) -> bool:
        """Whether a body comes that nobody asked for; one that waits for `100 Continue` does not."""
        return self._closes and not self._waits

    async def _drain(self) -> None:
        """Throws the rest of the body away, until it ends, the client falls silent, or for long enough."""
        try:
            async with asyncio.timeout(_LINGER):
                while not self._body_read:
                    async with asyncio.timeout(_LINGER_SILENCE):
                        await self.receive()
        except TimeoutError:
            self._body_read = True


def _is_long(scope: HTTPScope, most: int) -> bool:
    """Whether the body has more than `most` bytes, or an unknown length."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and int(value) > most)
        for name, value in scope["headers"]
    )
