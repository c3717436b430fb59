"""Messages over HTTP: to nobody but who may be called, and never further than the head of the answer."""

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from threading import Thread

import pytest

from engine.webhooks.lookups import AT_ONCE
from engine.webhooks.poster import WebhookPoster
from events.webhooks.post import NotAnswered
from events.webhooks.public_address import AddressRule
from tests.certificate import make_certificate
from tests.receiver import PATIENCE, answer, receiver, silent

HANGING = """
import asyncio, contextlib, socket, time
from engine.webhooks.poster import WebhookPoster
from events.webhooks.post import NotAnswered
from events.webhooks.public_address import AddressRule

async def main():
    socket.getaddrinfo = lambda *_, **__: time.sleep(3600)
    post = WebhookPoster(AddressRule(), "test", timeout=0.1)
    with contextlib.suppress(NotAnswered):
        await post.send("https://hooks.example.com/", {}, b"{}")
    await post.close()

asyncio.run(main())
"""


def out_of_threads(_: Thread) -> None:
    raise RuntimeError("can't start new thread")


LOOPBACK = AddressRule([ip_network("127.0.0.0/8")])
NOWHERE = AddressRule()


@asynccontextmanager
async def poster(rule: AddressRule = LOOPBACK, timeout: float = 20.0) -> AsyncIterator[WebhookPoster]:
    made = WebhookPoster(rule, "batchmill/1", timeout=timeout)
    try:
        yield made
    finally:
        await made.close()


async def failure(url: str, rule: AddressRule = LOOPBACK, timeout: float = 20.0) -> str:
    """Why there is no answer from a URL."""
    async with poster(rule, timeout) as post:
        with pytest.raises(NotAnswered) as refused:
            await post.send(url, {}, b"{}")
    return str(refused.value)


@pytest.mark.parametrize("status", [200, 204, 299, 301, 400, 410, 429, 500, 503])
async def test_the_status_of_an_answer_is_told(status: int) -> None:
    async with receiver(lambda _: answer(status)) as hearing, poster() as post:
        assert (await post.send(hearing.url("/a?b=c"), {"webhook-id": "wh_1"}, b'{"a":1}')).status == status
    [heard] = hearing.heard
    assert (heard.path, heard.body) == ("/a?b=c", b'{"a":1}')
    assert heard.headers["webhook-id"] == "wh_1"
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["user-agent"] == "batchmill/1"
    assert "cookie" not in heard.headers


@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        ([], None),
        (["retry-after: 120"], 120),
        (["retry-after-ms: 1500"], 1.5),
        (["date: Sat, 01 Nov 2025 00:00:00 GMT", "retry-after: Sat, 01 Nov 2025 00:01:00 GMT"], 60),
        (["retry-after: soon"], None),
    ],
)
async def test_when_a_receiver_wants_to_be_asked_again_is_told(
    headers: list[str], asked: float | None
) -> None:
    async with receiver(lambda _: answer(503, *headers)) as hearing, poster() as post:
        assert (await post.send(hearing.url(), {}, b"{}")).retry_after == asked


async def test_a_redirect_is_not_followed() -> None:
    async with receiver() as inside, poster() as post:
        moved = answer(307, f"location: {inside.url('/secret')}")
        async with receiver(lambda _: moved, "127.0.0.2") as outside:
            assert (await post.send(outside.url(), {}, b"{}")).status == 307
    assert inside.heard == []


async def test_a_receiver_that_hangs_costs_no_more_than_the_time_out() -> None:
    async with receiver(silent) as hearing:
        assert await failure(hearing.url(), timeout=0.2) == "no answer within 0.2 s"
        assert len(hearing.heard) == 1


async def test_an_answer_without_an_end_is_not_read() -> None:
    """Its status has been said: nobody waits for the rest of a body that does not come."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\nand so on"
    async with receiver(lambda _: head) as hearing, poster() as post:
        assert (await post.send(hearing.url(), {}, b"{}")).status == 200


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 100_000 + b"\r\n\r\n", "the answer was no HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the answer was no HTTP"),
        (b"", "the connection was cut before the answer"),
    ],
)
async def test_what_is_no_answer_is_a_failure(said: bytes, told: str) -> None:
    async with receiver(lambda _: said) as hearing:
        assert await failure(hearing.url()) == told


async def test_nobody_there() -> None:
    async with receiver() as gone:
        pass
    assert await failure(gone.url()) == "the connection was refused"
    assert await failure("http://no-such-name.invalid/") == "no address was found for the name in its URL"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "0", "0.0.0.0"]
)
async def test_loopback_is_not_called_however_it_is_written(host: str) -> None:
    async with receiver() as inside:
        told = await failure(inside.url(host=host), NOWHERE)
    assert told.startswith("not called: ") or told == "its URL cannot be called"
    assert inside.heard == []


@pytest.mark.parametrize("host", ["[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"])
async def test_addresses_in_brackets_are_judged_alike(host: str) -> None:
    assert (await failure(f"http://{host}:9/", NOWHERE)).startswith("not called: ")
    assert (await failure(f"https://{host}:9/", NOWHERE)).startswith("not called: ")


@pytest.mark.parametrize(
    ("url", "address"),
    [("https://10.0.0.7/", "10.0.0.7"), ("https://[::1]/", "::1"), ("https://0xa9fea9fe/", None)],
)
async def test_an_address_that_is_refused_is_told_to_who_wrote_it(url: str, address: str | None) -> None:
    said = address or "its name leads to an address that"
    assert await failure(url, NOWHERE) == f"not called: {said} is not public"


@pytest.mark.parametrize("address", ["10.0.0.7", "169.254.169.254", "100.64.0.1", "192.168.0.1", "127.0.0.1"])
async def test_a_name_that_leads_to_a_private_address_is_not_called_and_the_address_not_told(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answered(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        leads_to = (address, "10.99.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in leads_to]

    monkeypatch.setattr(socket, "getaddrinfo", answered)
    told = await failure("https://hooks.example.com/", NOWHERE)
    assert told == "not called: its name leads to an address that is not public"
    assert asked == ["hooks.example.com"]


async def test_a_name_that_changes_its_mind_is_judged_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """First an allowed address, then another: as a name server would to get past a check made before."""
    leads_to = ["127.0.0.1", "127.0.0.2"]

    def answered(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (leads_to.pop(0), port))]

    monkeypatch.setattr(socket, "getaddrinfo", answered)
    async with receiver() as hearing, poster(AddressRule([ip_network("127.0.0.1/32")])) as post:
        url = hearing.url(host="hooks.example.com")
        assert (await post.send(url, {}, b"{}")).status == 204
        with pytest.raises(NotAnswered, match="its name leads to an address that is not public"):
            await post.send(url, {}, b"{}")
    assert len(hearing.heard) == 1


async def test_a_public_address_is_not_called_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", answered)
    assert await failure("http://1.1.1.1/") == "not called: 1.1.1.1 would be called without TLS"
    told = await failure("http://one.example/")
    assert told == "not called: its name leads to an address that would be called without TLS"


async def test_a_certificate_that_nobody_trusts_is_not_trusted(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(made.certificate, made.key)
    async with receiver(tls=tls) as hearing:
        assert await failure(hearing.url().replace("http:", "https:")) == "no trusted TLS connection"
    assert hearing.heard == []


async def test_a_name_server_that_hangs_holds_up_no_other_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def hanging(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        answered.wait(20)
        raise socket.gaierror("at last")

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    async with poster(timeout=0.5) as post:
        asked = [post.send(f"https://name-{n}.example/", {}, b"{}") for n in range(40)]
        trying = asyncio.gather(*asked, return_exceptions=True)
        await asyncio.sleep(0)
        assert await asyncio.to_thread(lambda: "free") == "free"
        told = await trying
        answered.set()
    assert {str(one) for one in told} == {"no answer within 0.5 s"}


def test_a_name_server_that_hangs_does_not_delay_the_end_of_the_process() -> None:
    """Run to its end in a process of its own; the name is looked up for much longer than that may take."""
    subprocess.run([sys.executable, "-c", HANGING], timeout=PATIENCE, check=True)


async def test_what_can_be_sent_no_more_is_a_failure_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "this server could not send it: it is ending, or out of threads"
    async with poster() as post:
        monkeypatch.setattr(Thread, "start", out_of_threads)
        for _ in range(2 * AT_ONCE):
            with pytest.raises(NotAnswered, match=said):
                await post.send("https://hooks.example.com/", {}, b"{}")
        await post.close()
        with pytest.raises(NotAnswered, match=said):
            await post.send("https://hooks.example.com/", {}, b"{}")


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "file:///etc/passwd", "http://", "http://[::1", "nonsense"]
)
async def test_what_is_no_url_of_http_is_a_failure_like_any_other(url: str) -> None:
    assert await failure(url) == "its URL cannot be called"
