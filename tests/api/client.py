"""A client that sends exactly what a test says, one connection a request, and holds every answer against
OpenAI's description of it."""

import http.client
import json
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from tests.contract.openai_document import assert_described

JSON = {"content-type": "application/json"}
BOUNDARY = "a-boundary"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


class Answer:
    """Status, headers (names in lower case) and body of an answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str | None]:
        """The inside of the envelope, which must be all there is."""
        content = self.json
        assert list(content) == ["error"]
        assert set(content["error"]) == {"message", "type", "param", "code"}
        assert self.headers["content-type"] == "application/json"
        inside: dict[str, str | None] = content["error"]
        return inside


class Client:
    """Speaks to the API with one key."""

    def __init__(self, port: int, key: str | None) -> None:
        self.port = port
        self.key = key

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        authorization = {"authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            # It may be answered before all of it was sent.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, {**authorization, **(headers or {})})
            response = connection.getresponse()
            answer = Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()
        if answer.body and path.startswith("/v1") and answer.headers["content-type"] == "application/json":
            assert_described(method, path, answer.status, answer.json)
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers={name.replace("_", "-"): v for name, v in headers.items()})

    def post_json(self, path: str, body: object) -> Answer:
        return self.ask("POST", path, json.dumps(body).encode(), JSON)

    def upload(self, content: bytes, *, purpose: str = "batch", name: str = "in.jsonl") -> Answer:
        """A form as the Python SDK sends it."""
        return self.ask("POST", "/v1/files", form(field("purpose", purpose), file(content, name)), FORM)

    def uploaded(self, content: bytes = b'{"custom_id":"a"}\n', **more: str) -> str:
        """The id of a new file."""
        answer = self.upload(content, **more)
        assert answer.status == 200, answer.body
        id: str = answer.json["id"]
        return id

    def create(self, file_id: str, **more: object) -> Answer:
        return self.post_json("/v1/batches", batch_body(file_id) | more)

    def created(self, file_id: str = "file-none", **more: object) -> str:
        """The id of a new batch."""
        answer = self.create(file_id, **more)
        assert answer.status == 200, answer.body
        id: str = answer.json["id"]
        return id


def batch_body(file_id: str) -> dict[str, object]:
    return {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }


def field(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def file(content: bytes, name: str = "in.jsonl", part: str = "file") -> bytes:
    head = f'Content-Disposition: form-data; name="{part}"; filename="{name}"\r\n'
    return head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content


def form(*parts: bytes) -> bytes:
    opening = f"--{BOUNDARY}\r\n".encode()
    return b"".join(opening + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def spoken(port: int, sent: bytes) -> bytes:
    """What the server answers to exactly these bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer
