"""Upstream calls over real sockets: what goes out, what comes back, and every way it can break."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.http_upstream import HttpUpstream
from engine.upstream import (
    Answer,
    AnswerTooLarge,
    ConnectFailed,
    ConnectionDropped,
    ModelsAnswer,
    TimedOut,
    UpstreamFailure,
)
from events.errors import SettingsError
from tests.upstream import ledger_upstream

KEY = "sk-secret"
CHAT = "/v1/chat/completions"
BODY = b'{"model":"m", "messages":[]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
HEAD_OF_MUCH = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

PARTIAL_ANSWERS = [
    pytest.param(b"", id="before the answer"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="within the head"),
    pytest.param(HEAD_OF_MUCH, id="after the head"),
    pytest.param(HEAD_OF_MUCH + b'{"half":', id="within the body"),
    pytest.param(CHUNKED + b'5\r\n{"a', id="within a chunk"),
    pytest.param(CHUNKED + b"2\r\n{}\r\n", id="before the last chunk"),
]


class Wire:
    """A server that says exactly the bytes it is given, once per request, and remembers what it heard."""

    def __init__(self) -> None:
        self.url = ""
        self.says = OK
        self.then_closes = False
        self.heard: list[bytes] = []
        self.connections = 0
        self.request_came = asyncio.Event()
        self.client_left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (
                        int(row.split(b":")[1])
                        for row in head.split(b"\r\n")
                        if row.startswith(b"Content-Length")
                    ),
                    0,
                )
                self.heard.append(head + await reader.readexactly(length))
                writer.write(self.says)
                await writer.drain()
                self.request_came.set()
                if self.then_closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.client_left.set()
        finally:
            writer.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    yield wire
    server.close()


@asynccontextmanager
async def calling(
    url: str, *, answer_cap: int = 100_000, connect_timeout: float = 5.0, read_timeout: float = 60.0
) -> AsyncIterator[HttpUpstream]:
    upstream = HttpUpstream(
        url,
        KEY,
        answer_cap=answer_cap,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        probe_timeout=60.0,
    )
    try:
        yield upstream
    finally:
        await upstream.close()


async def failure_of(call: Awaitable[object]) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as raised:
        await call
    failure = raised.value
    told: list[BaseException] = [failure]
    for error in told:
        assert KEY not in str(error) + repr(error)
        told += [linked for linked in (error.__cause__, error.__context__) if linked is not None]
    return failure


async def test_a_request_goes_out_as_it_is_with_the_key_in_one_header_only(wire: Wire) -> None:
    async with calling(wire.url) as upstream:
        await upstream.send(CHAT, BODY, timeout=60.0)
    (heard,) = wire.heard
    head, _, body = heard.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1")
    assert b"\r\nContent-Type: application/json" in head
    assert head.count(KEY.encode()) == 1
    assert b"\r\nAuthorization: Bearer sk-secret" in head
    assert body == BODY


async def test_a_large_request_goes_out_as_it_is(wire: Wire) -> None:
    body = b'"' + b"x" * (3 << 20) + b'"'
    async with calling(wire.url) as upstream:
        await upstream.send(CHAT, body, timeout=60.0)
    assert wire.heard[0].endswith(b"\r\n\r\n" + body)


async def test_the_path_of_a_line_stands_at_the_upstreams_own_v1(wire: Wire) -> None:
    async with calling(wire.url.replace("/v1", "/proxy/api/")) as upstream:
        await upstream.send("/v1/embeddings", BODY, timeout=60.0)
    assert wire.heard[0].startswith(b"POST /proxy/api/embeddings HTTP/1.1")


async def test_answers_come_back_as_they_are_over_one_connection(wire: Wire) -> None:
    async with calling(wire.url) as upstream:
        for _ in range(3):
            answer = await upstream.send(CHAT, BODY, timeout=60.0)
            assert (answer.status, answer.body) == (200, b"{}")
            assert answer.headers.get("content-type") == "application/json"
    assert wire.connections == 1


async def test_cookies_are_not_kept(wire: Wire) -> None:
    wire.says = OK.replace(b"\r\n", b"\r\nSet-Cookie: a=b\r\n", 1)
    async with calling(wire.url) as upstream:
        await upstream.send(CHAT, BODY, timeout=60.0)
        await upstream.send(CHAT, BODY, timeout=60.0)
    assert b"Cookie" not in wire.heard[1]


async def test_the_environments_proxy_is_not_used(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with calling(wire.url) as upstream:
        assert (await upstream.send(CHAT, BODY, timeout=60.0)).status == 200


@pytest.mark.parametrize("status", [302, 307, 400, 401, 404, 429, 500, 503])
async def test_every_status_is_an_answer_and_no_redirect_is_followed(wire: Wire, status: int) -> None:
    wire.says = b"HTTP/1.1 %d X\r\nLocation: /v1/elsewhere\r\nContent-Length: 2\r\n\r\n{}" % status
    async with calling(wire.url) as upstream:
        answer = await upstream.send(CHAT, BODY, timeout=60.0)
    assert (answer.status, answer.body) == (status, b"{}")
    assert len(wire.heard) == 1


async def test_a_compressed_answer_is_unpacked(tmp_path: Path) -> None:
    async with ledger_upstream(tmp_path / "ledger") as told, calling(told.url) as upstream:
        answer = await upstream.send(CHAT, b'{"x":"line-1 gzip"}', timeout=60.0)
    assert b"echo of line-1" in answer.body


@pytest.mark.parametrize("said", PARTIAL_ANSWERS)
async def test_an_upstream_that_falls_silent_times_out(wire: Wire, said: bytes) -> None:
    wire.says = said
    async with calling(wire.url) as upstream:
        failure = await failure_of(upstream.send(CHAT, BODY, timeout=0.1))
    assert isinstance(failure, TimedOut)
    assert failure.reason == f"no whole answer from {wire.url} within 0.1 s"


async def test_a_silence_longer_than_the_read_time_out_ends_the_call(wire: Wire) -> None:
    wire.says = HEAD_OF_MUCH + b"{"
    async with calling(wire.url, read_timeout=0.1) as upstream:
        assert isinstance(await failure_of(upstream.send(CHAT, BODY, timeout=30.0)), TimedOut)


@pytest.mark.parametrize("said", PARTIAL_ANSWERS)
async def test_a_connection_that_ends_before_the_answer_is_dropped(wire: Wire, said: bytes) -> None:
    wire.says, wire.then_closes = said, True
    async with calling(wire.url) as upstream:
        failure = await failure_of(upstream.send(CHAT, BODY, timeout=60.0))
    assert isinstance(failure, ConnectionDropped)
    assert wire.url in failure.reason


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
async def test_what_is_not_http_is_dropped(wire: Wire, said: bytes) -> None:
    wire.says = said
    async with calling(wire.url) as upstream:
        assert isinstance(await failure_of(upstream.send(CHAT, BODY, timeout=60.0)), ConnectionDropped)


async def test_a_broken_compression_is_dropped(wire: Wire) -> None:
    wire.says = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"
    async with calling(wire.url) as upstream:
        assert isinstance(await failure_of(upstream.send(CHAT, BODY, timeout=60.0)), ConnectionDropped)


async def test_nobody_listening_is_a_refused_connection_named_with_its_remedy(unused_port: int) -> None:
    url = f"http://127.0.0.1:{unused_port}/v1"
    async with calling(url) as upstream:
        failure = await failure_of(upstream.send(CHAT, BODY, timeout=60.0))
    assert isinstance(failure, ConnectFailed)
    assert failure.reason == f"connection refused by {url}"
    assert "see that the upstream runs" in str(failure)


async def test_a_port_that_never_accepts_times_out_as_no_connection() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        crowd = [socket.socket() for _ in range(3)]
        for visitor in crowd:
            visitor.setblocking(False)
            visitor.connect_ex(deaf.getsockname())
        async with calling(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", connect_timeout=0.2) as upstream:
            failure = await failure_of(upstream.send(CHAT, BODY, timeout=30.0))
        for visitor in crowd:
            visitor.close()
    assert isinstance(failure, ConnectFailed)
    assert "within 0.2 s" in failure.reason


def packed(body: bytes) -> bytes:
    data = gzip.compress(body)
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", id="by its own word, unread"),
        pytest.param(CHUNKED + b"3e9\r\n" + b"x" * 1001 + b"\r\n", id="in chunks"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1001, id="until the end of the connection"),
        pytest.param(packed(b"0" * 50_000_000), id="only when unpacked"),
    ],
)
async def test_an_answer_over_the_cap_is_not_read(wire: Wire, said: bytes) -> None:
    wire.says = said
    async with calling(wire.url, answer_cap=1_000) as upstream:
        failure = await failure_of(upstream.send(CHAT, BODY, timeout=60.0))
        assert isinstance(failure, AnswerTooLarge)
        assert failure.limit == 1_000
        wire.says = OK
        assert (await upstream.send(CHAT, BODY, timeout=60.0)).status == 200


@pytest.mark.parametrize("pack", [packed, lambda body: HEAD_OF_MUCH + body])
async def test_an_answer_of_exactly_the_cap_is_whole(wire: Wire, pack: Callable[[bytes], bytes]) -> None:
    wire.says = pack(b"x" * 1_000)
    async with calling(wire.url, answer_cap=1_000) as upstream:
        assert (await upstream.send(CHAT, BODY, timeout=60.0)).body == b"x" * 1_000


@pytest.mark.parametrize("said", PARTIAL_ANSWERS)
async def test_a_cancelled_call_gives_everything_back(wire: Wire, said: bytes) -> None:
    wire.says = said
    async with calling(wire.url) as upstream:
        before = asyncio.all_tasks()
        call = asyncio.create_task(upstream.send(CHAT, BODY, timeout=30.0))
        await wire.request_came.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await wire.client_left.wait()
        served = {task for task in asyncio.all_tasks() if "serve" in repr(task.get_coro())}
        assert asyncio.all_tasks() - served <= before
        wire.says = OK
        assert (await upstream.send(CHAT, BODY, timeout=60.0)).status == 200


def json_answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (
            json_answer(200, b'{"object":"list","data":[{"id":"a","object":"model"},{"id":"b"}]}'),
            ModelsAnswer(200, frozenset({"a", "b"})),
        ),
        (json_answer(200, b'{"data":[]}'), ModelsAnswer(200, frozenset())),
        (json_answer(200, b'{"data":[{"id":"a"}],"has_more":true}'), ModelsAnswer(200, None)),
        (json_answer(200, b'{"data":[{"name":"a"}]}'), ModelsAnswer(200, None)),
        (json_answer(200, b"<html>"), ModelsAnswer(200, None)),
        (json_answer(200, b"[" * 5_000), ModelsAnswer(200, None)),
        (json_answer(200, b"x" * 200_000), ModelsAnswer(200, None)),
        (json_answer(404, b'{"data":[{"id":"a"}]}'), ModelsAnswer(404, None)),
        (json_answer(401, b"{}"), ModelsAnswer(401, None)),
    ],
)
async def test_what_the_list_of_models_says(wire: Wire, said: bytes, answer: ModelsAnswer) -> None:
    wire.says = said
    async with calling(wire.url) as upstream:
        assert await upstream.models() == answer
    assert wire.heard[0].startswith(b"GET /v1/models HTTP/1.1")
    assert b"Authorization: Bearer sk-secret" in wire.heard[0]


async def test_no_answer_to_the_list_of_models_is_a_failure(unused_port: int) -> None:
    async with calling(f"http://127.0.0.1:{unused_port}/v1") as upstream:
        assert isinstance(await failure_of(upstream.models()), ConnectFailed)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000/v1", "ftp://u/v1", "http://", "http://u/v1?a=b", "http://[u/v1"]
)
async def test_a_url_that_cannot_be_used_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(SettingsError, match="give one like http://localhost:8000/v1"):
        HttpUpstream(url)


async def test_a_password_in_the_url_is_refused_without_showing_it() -> None:
    with pytest.raises(SettingsError, match="BATCHMILL_UPSTREAM_API_KEY") as raised:
        HttpUpstream(f"http://user:{KEY}@u/v1")
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("key", ["sk-secret\n", "sk secret", "sk-sécret"])
async def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(SettingsError, match="BATCHMILL_UPSTREAM_API_KEY") as raised:
        HttpUpstream("http://u/v1", key)
    assert key not in str(raised.value)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_many_calls_at_once_are_all_answered(tmp_path: Path) -> None:
    async with ledger_upstream(tmp_path / "ledger", latency=0.01) as told, calling(told.url) as upstream:
        calls = (upstream.send(CHAT, b'{"x":"line-%d"}' % number, timeout=30.0) for number in range(200))
        answers: list[Answer] = await asyncio.gather(*calls)
    assert [b"echo of line-%d" % number in answer.body for number, answer in enumerate(answers)] == [
        True
    ] * 200
