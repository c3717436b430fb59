"""The server's HTTP protocol, for what never becomes a request: it too is answered with an envelope."""

import secrets

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import ApiError


class EnvelopeProtocol(HttpToolsProtocol):
    """uvicorn's protocol over httptools, but for the answer to bytes that are no HTTP request."""

    def send_400_response(self, msg: str) -> None:
        """Answers, and ends the connection."""
        body = ApiError(400, f"{msg} The connection will be closed.").body()
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: req_{secrets.token_hex(16)}\r\n"
            "connection: close\r\n"
            "\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
