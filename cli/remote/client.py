"""The small HTTP client of the commands that ask a running server.

Standard library only, so that such a command starts at once. One connection a request, no retries, no
redirects: a command that fails says so and can be repeated.
"""

import http.client
import os
import secrets
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import BinaryIO, Protocol, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from cli.exit_codes import ServerUnreachable
from cli.settings_sources import load
from events.errors import BatchmillError, NotFound, Refused

T = TypeVar("T")

TIMEOUT = 60.0
"""Seconds a connection, a write or a read may stand still."""

_PIECE = 256 * 1024
_LARGEST_ANSWER = 64 * 1024 * 1024
_PAGE = 100
_OUT_OF_SERVICE = (502, 503, 504)
_NOT_ALLOWED = (401, 403, 409)


class Sink(Protocol):
    """What an answer is written into."""

    def write(self, piece: bytes, /) -> object: ...


class AnswerRefused(BatchmillError):
    """The server understood and said no, or answered what no such server answers."""


class _ErrorBody(msgspec.Struct):
    message: str


class _ErrorAnswer(msgspec.Struct):
    error: _ErrorBody


class _Item(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool = False


class Server:
    """A Batchmill server (or any OpenAI-compatible one) at `url`, which ends in its /v1.

    Every method raises ServerUnreachable, NotFound (404), Refused (401, 403, 409) or AnswerRefused.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout: float = TIMEOUT) -> None:
        self.url = url
        self._parts = urlsplit(url)
        self._key = key
        self._timeout = timeout

    def get(self, *path: str, **query: str) -> bytes:
        """The JSON text of one answer, such as `get("batches", "batch_1")`."""
        return self._ask("GET", _target(*path, **query))

    def post(self, *path: str, body: Mapping[str, object] | None = None) -> bytes:
        """The JSON text of the answer; without `body` an empty one is sent."""
        content = msgspec.json.encode(body) if body is not None else b""
        return self._ask("POST", _target(*path), content, {"Content-Type": "application/json"})

    def delete(self, *path: str) -> bytes:
        return self._ask("DELETE", _target(*path))

    def objects(
        self, *path: str, limit: int, after: str | None = None, **query: str
    ) -> Iterator[msgspec.Raw]:
        """At most `limit` objects of a list after the object `after`, in the server's order, page by page."""
        cursor = {} if after is None else {"after": after}
        while limit > 0:
            size = min(limit, _PAGE)
            answer = self._ask("GET", _target(*path, limit=str(size), **query, **cursor))
            page = decode(answer, _Page)
            yield from page.data[:limit]
            limit -= len(page.data)
            if not page.has_more or not page.data:
                return
            cursor = {"after": decode(page.data[-1], _Item).id}

    def upload(self, source: BinaryIO, *, name: str, purpose: str) -> bytes:
        """Send a file, which must know its size, and return the JSON text of the File. Flat in memory."""
        boundary = secrets.token_hex(16)
        head = _form_head(boundary, name=name, purpose=purpose)
        tail = f"\r\n--{boundary}--\r\n".encode()
        size = os.fstat(source.fileno()).st_size

        def body() -> Iterator[bytes]:
            yield head
            while piece := source.read(_PIECE):
                yield piece
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        return self._ask("POST", "/files", body(), headers)

    def download(self, target: Sink, *path: str, **query: str) -> Message:
        """Write an answer that is no JSON into `target` as it comes; returns its headers. A cut answer raises
        ServerUnreachable."""
        connection = self._connection()
        try:
            answer = self._send(connection, "GET", _target(*path, **query), None, {})
            if answer.status != 200:
                raise self._refusal(answer.status, self._read(answer))
            expected, written = answer.length, 0
            while piece := self._read(answer, _PIECE):
                target.write(piece)
                written += len(piece)
            if expected is not None and written < expected:
                raise ServerUnreachable(f"{self.url} cut the answer after {written} of {expected} bytes")
            return answer.headers
        finally:
            connection.close()

    def _ask(
        self,
        method: str,
        target: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        connection = self._connection()
        try:
            answer = self._send(connection, method, target, body, headers or {})
            content = self._read(answer, _LARGEST_ANSWER)
        finally:
            connection.close()
        if answer.status != 200:
            raise self._refusal(answer.status, content)
        return content

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        return kind(self._parts.hostname or "", self._parts.port, timeout=self._timeout)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: bytes | Iterator[bytes] | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        authorization = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            try:
                connection.request(method, self._parts.path + target, body, {**authorization, **headers})
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses an upload answers before it has read all of it.
                return connection.getresponse()
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def _read(self, answer: http.client.HTTPResponse, size: int = _LARGEST_ANSWER) -> bytes:
        try:
            return answer.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        why = "no answer in time" if isinstance(error, TimeoutError) else _reason(error)
        return ServerUnreachable(
            f"cannot reach {self.url}: {why}; start it with `batchmill serve`, or name another with --url"
        )

    def _refusal(self, status: int, content: bytes) -> BatchmillError:
        try:
            message = msgspec.json.decode(content, type=_ErrorAnswer).error.message
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return AnswerRefused(f"{self.url} answered {status} without a reason: is it a server's /v1?")
        if status == 404:
            return NotFound(message)
        if status in (401, 403):
            return Refused(f"{message} (give a valid key in BATCHMILL_API_KEY)")
        if status == 409:
            return Refused(message)
        if status in _OUT_OF_SERVICE:
            return ServerUnreachable(f"{self.url} cannot answer now: {message}")
        return AnswerRefused(message)


def connect(url: str | None = None, *, environ: Mapping[str, str] = os.environ) -> Server:
    """The server that the flag, else the settings, name; the key comes from the settings."""
    settings = load({"url": url}, environ=environ).settings
    return Server(settings.server_url, settings.api_key)


def decode(content: bytes | msgspec.Raw, shape: type[T]) -> T:
    """The answer as `shape`; AnswerRefused when it is something else."""
    try:
        return msgspec.json.decode(content, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AnswerRefused(f"the server answered something unexpected: {error}") from error


def json_text(content: bytes | msgspec.Raw) -> str:
    """JSON as people read it, with the server's order of keys."""
    return msgspec.json.format(bytes(content), indent=2).decode()


def _target(*path: str, **query: str) -> str:
    target = "".join(f"/{quote(part, safe='')}" for part in path)
    return f"{target}?{urlencode(query)}" if query else target


def _form_head(boundary: str, *, name: str, purpose: str) -> bytes:
    filename = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()


def _reason(error: Exception) -> str:
    known = error.strerror if isinstance(error, OSError) else None
    return known or str(error) or type(error).__name__
