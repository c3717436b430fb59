"""The server's HTTP protocol, for what never becomes a request: it too is answered with an envelope.

waiting ──a byte──▶ in a head ──its end──▶ a request (api/exchange.py) ──▶ waiting
   └── too long a wait, too many bytes, no HTTP: an envelope, and the connection ends
"""

import asyncio
import secrets
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import ApiError
from api.exchange import VERSION
from api.request_head import HEAD_BYTES, head_too_large

_HEAD_SECONDS: Final = 60.0
"""Longest time for a request's head, from its first byte, or from the connection's beginning: the default
of nginx's client_header_timeout."""


class EnvelopeProtocol(HttpToolsProtocol):
    """uvicorn's protocol over httptools, but for heads that never end and bytes that are no HTTP request."""

    _head_bytes: int | None = None
    """Bytes read of a head that is not complete; None: in none."""
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """The first head may come."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._end_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._end_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parses what came; httptools itself would hold a head of any length."""
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(head_too_large())

    def send_400_response(self, msg: str) -> None:
        """Answers what is no request."""
        self._refuse(ApiError(400, f"{msg} The connection will be closed."))

    def _begin_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._give_up)

    def _end_head(self) -> None:
        self._head_bytes = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._refuse(ApiError(408, f"No complete request head came within {_HEAD_SECONDS:g} s."))

    def _refuse(self, error: ApiError) -> None:
        """Ends the connection, with an answer unless one is under way."""
        self._end_head()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            body = error.body()
            head = (
                f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
                "content-type: application/json\r\n"
                f"content-length: {len(body)}\r\n"
                f"x-request-id: req_{secrets.token_hex(16)}\r\n"
                "openai-processing-ms: 0\r\n"
                f"openai-version: {VERSION.decode()}\r\n"
                "connection: close\r\n"
                "\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()
