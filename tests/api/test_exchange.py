"""What holds for every exchange: headers, the shape of every error, limits, and an orderly end."""

import re
import select
import socket
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from api import body as request_body
from api import http_protocol
from api.body import patience
from api.exchange import VERSION
from tests.api.client import FORM, JSON, Client, field, file, form, spoken
from tests.api.serving import OPTIONS, Project, Served

LINE = b'{"custom_id":"a"}\n'


def answer_so_far(connection: socket.socket) -> bytes:
    """What came within the blink of an eye, if anything."""
    readable, _, _ = select.select([connection], [], [], 0.01)
    return connection.recv(65536) if readable else b""


def test_every_answer_has_its_headers(served: Served, project: Project) -> None:
    answers = [
        project.client.get("/v1/batches"),
        project.client.get("/v1/batches/batch_x"),
        project.client.get("/v1/nothing"),
        project.client.ask("PUT", "/v1/batches"),
        Client(served.port, None).get("/v1/batches"),
        Client(served.port, None).get("/livez"),
    ]
    for answer in answers:
        assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
        assert answer.headers["openai-version"] == VERSION.decode()
        assert int(answer.headers["openai-processing-ms"]) >= 0
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    assert answers[0].headers["openai-organization"] == project.id


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/foo"), ("GET", "/"), ("GET", "/v1"), ("GET", "/v2/batches"), ("GET", "/v1/batches/a/b")],
)
def test_an_unknown_path(served: Served, project: Project, method: str, path: str) -> None:
    for client in (project.client, Client(served.port, None)):
        answer = client.ask(method, path)
        assert answer.status == 404
        assert answer.error == {
            "message": f"Invalid URL ({method} {path})",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/models", {"GET", "HEAD"}),
        ("PUT", "/v1/batches", {"GET", "HEAD", "POST"}),
        ("DELETE", "/v1/batches", {"GET", "HEAD", "POST"}),
        ("GET", "/v1/batches/batch_x/cancel", {"POST"}),
        ("POST", "/v1/files/file-x/content", {"GET", "HEAD"}),
        ("PATCH", "/v1/files/file-x", {"GET", "HEAD", "DELETE"}),
    ],
)
def test_a_method_that_is_not_allowed(project: Project, method: str, path: str, allowed: set[str]) -> None:
    answer = project.client.ask(method, path)
    assert answer.status == 405
    assert answer.error["message"] == (
        f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
    )
    assert set(answer.headers["allow"].split(", ")) - {"OPTIONS"} == allowed
    options = project.client.ask("OPTIONS", path)
    assert options.status == 204
    assert set(options.headers["allow"].split(", ")) - {"OPTIONS"} == allowed


@pytest.mark.parametrize("header", ["Authorization", "Api-Key"])
def test_a_key_is_sent_once(served: Served, project: Project, header: str) -> None:
    sent = f"{header}: Bearer {project.key}\r\n"
    answer = spoken(
        served.port,
        f"GET /v1/files HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{sent * 2}\r\n".encode(),
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert f"Invalid '{header}': expected it once, but got it again.".encode() in answer


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v1/models", "/v1/models/small", "/v1/files"])
def test_head_is_get_without_its_body(project: Project, path: str) -> None:
    head, get = project.client.ask("HEAD", path), project.client.get(path)
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == get.headers[name]


def test_a_clients_own_request_id_has_limits(project: Project) -> None:
    good = project.client.get("/v1/batches", X_Client_Request_Id="x" * 512)
    assert good.status == 200
    for bad in ("x" * 513, "\xe9"):
        answer = project.client.get("/v1/batches", X_Client_Request_Id=bad)
        assert answer.status == 400
        assert answer.error["param"] == "X-Client-Request-Id"


def test_a_head_has_limits(project: Project) -> None:
    assert project.client.get("/v1/batches", x_padding="x" * 70_000).status == 431
    answer = project.client.get("/v1/batches/" + "x" * 3000)
    assert (answer.status, (answer.error["message"] or "")[:18]) == (404, "Invalid URL (GET w")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", form(field("purpose", "batch"))),
        ("multipart/form-data; boundary=", b""),
        ("multipart/form-data; boundary=other", form(field("purpose", "batch"))),
        (FORM["content-type"], b""),
        (FORM["content-type"], b"garbage"),
        (FORM["content-type"], form(field("purpose", "batch"), file(LINE))[:-10]),
        (FORM["content-type"], form(b"No-Disposition: x\r\n\r\n")),
        (FORM["content-type"], form(b'Content-Disposition: form-data; name="purpose"\n\nbatch')),
        (FORM["content-type"], form(field("purpose", "x" * 70_000))),
        (FORM["content-type"], form(*[field(f"f{n}", "x") for n in range(70)])),
        (FORM["content-type"], form(b'Content-Disposition: form-data; name="purpose"\r\n\r\n\xff')),
    ],
)
def test_a_malformed_form(served: Served, project: Project, content_type: str, body: bytes) -> None:
    before = served.stored()
    answer = project.client.ask("POST", "/v1/files", body, {"content-type": content_type})
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert "We could not parse the multipart form of your request: " in (answer.error["message"] or "")
    assert served.stored() == before


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"HELLO\r\n\r\n",
        b"GET /v1/batches HTTP/9.9\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"POST /v1/batches HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/batches HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v1/batches HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"GET /v1/b\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/batches HTTP/1.1\r\nhost: a b<>\r\nconnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_request_is_answered_with_an_envelope_too(served: Served, sent: bytes) -> None:
    head, _, body = spoken(served.port, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    for header in (b"content-type: application/json", b"x-request-id: req_", b"openai-version: 2020-10-01"):
        assert header in head.lower()
    assert body.startswith(b'{"error":{"message":"')


def test_a_head_that_does_not_end_is_refused_by_its_size(served: Served) -> None:
    for sent in (b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\nx-padding: "):
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
            answer = b""
            with suppress(ConnectionError):
                connection.sendall(sent)
                while not answer:
                    connection.sendall(b"x" * 4096)
                    answer = answer_so_far(connection)
        assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        assert b'{"error":{"message":"The request\'s headers are larger than 65536 bytes."' in answer


@pytest.mark.parametrize("sent", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nhost: x\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_protocol, "_HEAD_SECONDS", 0.05)
    answer = spoken(served.port, sent)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert answer.endswith(b'"type":"invalid_request_error","param":null,"code":null}}')


def test_an_idle_connection_outlives_the_time_of_a_head(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "_HEAD_SECONDS", 0.05)
    get = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as idle:
        idle.sendall(get)
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 OK")
        spoken(served.port, b"")  # in which time a head would have been given up
        idle.sendall(get)
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_websocket_is_not_spoken(served: Served) -> None:
    sent = b"GET /v1/batches HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: close, upgrade\r\n\r\n"
    assert spoken(served.port, sent).startswith(b"HTTP/1.1 401 ")


def test_chunked_json_and_pipelined_requests_are_understood(served: Served, project: Project) -> None:
    key = f"authorization: Bearer {project.key}\r\n".encode()
    chunk = b'{"input_file_id":"f","endpoint":"/v1/embeddings","completion_window":"24h"}'
    create = (
        b"POST /v1/batches HTTP/1.1\r\nhost: x\r\n" + key + b"transfer-encoding: chunked\r\n\r\n"
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(chunk), chunk)
    )
    get = b"GET /v1/batches?limit=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + key + b"\r\n"
    answers = spoken(served.port, create + get)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert b'"has_more":false' in answers


def test_a_refusal_ends_an_upload_without_reading_all_of_it(served: Served, project: Project) -> None:
    """Answered from the head alone: none of the body was sent, and no `100 Continue` is waited for."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(
            f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {project.key}\r\n"
            f"content-type: {FORM['content-type']}\r\ncontent-length: {10**12}\r\n\r\n".encode()
        )
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert (
            f"Maximum content size limit ({OPTIONS.max_form_bytes}) exceeded ({10**12} bytes read)"
            in (answer + connection.recv(65536)).decode()
        )


def test_an_upload_that_waits_for_100_continue_is_told_no_at_once(served: Served) -> None:
    answer = spoken(
        served.port,
        b"POST /v1/files HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\n"
        b"content-length: 100000000\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("length", [5, 100_000_000])
def test_a_refusal_instead_of_100_continue_ends_the_connection(served: Served, length: int) -> None:
    """The client may send its body all the same, or go on with another request: nobody could tell."""
    answer = spoken(
        served.port,
        b"POST /v1/files HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n" % length,
    )
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nconnection: close\r\n" in answer


def test_a_body_that_drips_is_given_up(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "_SILENCE", 0.2)
    before = served.stored()
    start = form(field("purpose", "batch"), file(LINE))[:-20]
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(
            f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {project.key}\r\n"
            f"content-type: {FORM['content-type']}\r\ncontent-length: 100000\r\n\r\n".encode()
            + start
        )
        answer = b""
        while not answer:
            connection.sendall(b"\n")
            answer = answer_so_far(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The request's body comes too slowly" in answer
    assert served.stored() == before


def test_the_patience_with_a_body_grows_with_what_came_of_it() -> None:
    assert patience(0, 0.0) == 60
    assert patience(1, 59.0) == pytest.approx(1, abs=0.01)
    assert patience(1, 61.0) < 0
    assert patience(1 << 20, 61.0) == 60
    assert patience(1 << 20, 300.0) == pytest.approx(16)


def test_a_client_that_sends_everything_first_still_sees_the_refusal(served: Served) -> None:
    body = b"x" * (8 << 20)
    answer = Client(served.port, None).ask("POST", "/v1/files", body, FORM)
    assert answer.status == 401
    assert answer.headers["connection"] == "close"


def test_an_unread_short_body_keeps_the_connection(project: Project) -> None:
    answer = project.client.ask("POST", "/v1/batches/batch_x/cancel", b"{}", JSON)
    assert answer.status == 404
    assert "connection" not in answer.headers


def test_a_client_that_leaves_in_an_upload_leaves_no_object(served: Served, project: Project) -> None:
    before = served.stored()
    body = form(field("purpose", "batch"), file(LINE + b" " * 1_500_000))
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(
            f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {project.key}\r\n"
            f"content-type: {FORM['content-type']}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        )
        connection.sendall(body[:-100_000])
    # The server handles the next upload of this project only after it has seen the connection's end or not:
    # either way nothing of the first may stay.
    deadline = 200
    while served.stored() != before and deadline:
        project.client.get("/livez")
        deadline -= 1
    assert served.stored() == before
    assert project.client.get("/v1/files").json["data"] == []


def test_what_nobody_foresaw_tells_nothing(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(served.journal.models, "page", broken)
    with capture_logs() as logged:
        answer = project.client.get("/v1/batches")
    assert answer.status == 500
    (entry,) = logged
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert str(entry["exc_info"]) == "secret detail"
    assert answer.error == {
        "message": "The server had an error while processing your request.",
        "type": "server_error",
        "param": None,
        "code": None,
    }
