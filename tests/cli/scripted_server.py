"""A real HTTP server that answers by a script and keeps what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


@dataclass(frozen=True)
class Asked:
    """One request as it arrived: `path` with its query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """One answer of the script. `cut` announces more bytes than are sent."""

    status: int
    body: bytes
    cut: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class ScriptedServer:
    """Answers each `METHOD /path` by its script in order; the last answer is given again and again."""

    url: str
    script: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def answers(self, request: str, *bodies: object, status: int = 200) -> None:
        """Add answers for `request`, such as `GET /files`: bytes as they are, anything else as JSON."""
        encoded = (body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies)
        self.script.setdefault(request, []).extend(Answer(status, body) for body in encoded)

    def refuses(self, request: str, status: int, message: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        self.answers(request, {"error": error}, status=status)

    def next_answer(self, request: str) -> Answer:
        waiting = self.script.get(request, [Answer(404, b'{"error":{"message":"not in the script"}}')])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """A running server on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        server_: ClassVar[ScriptedServer]

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.removeprefix("/v1")
            self.server_.asked.append(Asked(self.command, path, dict(self.headers.items()), body))
            answer = self.server_.next_answer(f"{self.command} {path.partition('?')[0]}")
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body) + (10 if answer.cut else 0)))
            for name, value in answer.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the tests read `asked`."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.server_ = ScriptedServer(f"http://127.0.0.1:{http.server_port}/v1")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Handler.server_
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
