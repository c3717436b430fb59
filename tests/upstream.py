"""The upstream of the tests: does what each request's text tells it to, and keeps a ledger of what it did.

Runs within a test (`async with ledger_upstream(path) as upstream`) or as a process of its own
(`python -m tests.upstream --ledger FILE`, which prints its URL as its first line), so that a test can kill
everything else and still know which lines were tried, when, and how often.

A request says in its text who it is and what shall happen: `"line-17"`, `"line-17 503x2"`. The directives:

    200, 400, 403, 422, 503 …     that status, always        503x2           for two tries, then a success
    429 retry-after 1             once, with that header     slow 0.5        a success after so many seconds
    drop, dropx1                  closes without a word      drop-midway     closes within the body
    html, htmlx1                  200 with a page            redirect        307 to /elsewhere
    big 200000                    so many bytes of text      pretty          JSON on many lines
    emoji-half, u2028, dup-keys, 1e400, deep 3000            JSON that is hard to hold
    stall                         no answer, ever            gzip            compressed
"""

import argparse
import asyncio
import gzip
import hashlib
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

MODEL: Final = "practice"
PROMPT_TOKENS: Final = 7
COMPLETION_TOKENS: Final = 5
"""What every success says it used."""

_MARKER: Final = re.compile(rb'"(line-[^\s"]+)(?: ([^"]*))?"')
_FOR_SOME_TRIES: Final = re.compile(r"(.+?)x(\d+)")
_USAGE: Final = b'"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (
    PROMPT_TOKENS,
    COMPLETION_TOKENS,
    PROMPT_TOKENS + COMPLETION_TOKENS,
)


class Entry(msgspec.Struct):
    """One line of the ledger: a try of a line began (`what` is "began") or ended with that outcome."""

    line: str
    number: int
    at: float
    what: str
    body: str = ""
    by: str = ""
    port: int = 0


class Visit(msgspec.Struct):
    """One try of a line as the upstream saw it. Times are the machine's monotonic clock, the same for every
    process; `outcome` is a status, "html", "dropped", or "gone" (the client went away), None while under way.
    `body` is the hex SHA-256 of the request's body, `by` the key that it came with,
    and `port` the other end of its connection."""

    line: str
    number: int
    began: float
    ended: float | None = None
    outcome: str | None = None
    body: str = ""
    by: str = ""
    port: int = 0


def visits(ledger: Path) -> list[Visit]:
    """Reads a ledger, also one that is still written to, in the order in which the tries began."""
    found: dict[tuple[str, int], Visit] = {}
    whole = ledger.read_bytes()
    for text in whole[: whole.rfind(b"\n") + 1].splitlines():
        entry = msgspec.json.decode(text, type=Entry)
        if entry.what == "began":
            found[entry.line, entry.number] = Visit(
                entry.line, entry.number, entry.at, body=entry.body, by=entry.by, port=entry.port
            )
        else:
            visit = found[entry.line, entry.number]
            visit.ended, visit.outcome = entry.at, entry.what
    return list(found.values())


class LedgerUpstream:
    """What a test sees: where it is, what it has done, and a few things to change while it runs."""

    def __init__(self, ledger: Path, latency: float = 0.0, key: str | None = None) -> None:
        self.url = ""
        self.latency = latency
        self.models_status = 200
        self.models = [MODEL]
        self.probes = 0
        self.under_way = 0
        self._key = key
        self._tries = Counter(visit.line for visit in visits(ledger)) if ledger.exists() else Counter[str]()
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._moved = asyncio.Event()

    @property
    def tries(self) -> int:
        """Tries of all lines so far."""
        return self._tries.total()

    def tries_of(self, line: str) -> int:
        """Tries of one line so far."""
        return self._tries[line]

    async def until(self, reached: Callable[["LedgerUpstream"], bool]) -> None:
        """Returns when `reached` holds, for example `lambda upstream: upstream.tries >= 100`."""
        while not reached(self):
            await self._moved.wait()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handles one request."""
        if self._key is not None and request.headers.get("Authorization") != f"Bearer {self._key}":
            return web.json_response({"error": {"message": "Incorrect API key provided."}}, status=401)
        if request.path.endswith("/models"):
            self.probes += 1
            self._move()
            data = [
                {"id": model, "object": "model", "created": 0, "owned_by": "tests"} for model in self.models
            ]
            return web.json_response({"object": "list", "data": data}, status=self.models_status)
        return await self._visit(request, await request.clone(client_max_size=1 << 30).read())

    async def _visit(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        marker = _MARKER.search(body)
        line = marker[1].decode() if marker else "line-unknown"
        directive = (marker[2] or b"").decode() if marker else ""
        self._tries[line] += 1
        number = self._tries[line]
        by = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self._write(line, number, "began", hashlib.sha256(body).hexdigest(), by, _port_of(request))
        self.under_way += 1
        outcome = "gone"
        try:
            response = await self._act(request, line, directive, number)
            outcome = _named(response)
            return web.Response() if response is None else response
        finally:
            self.under_way -= 1
            self._write(line, number, outcome)

    async def _act(
        self, request: web.BaseRequest, line: str, directive: str, number: int
    ) -> web.StreamResponse | None:
        """Does what the request asks for; None when it closed the connection instead of answering."""
        if self.latency:
            await asyncio.sleep(self.latency)
        name, _, argument = directive.partition(" ")
        if name == "429" and argument.startswith("retry-after "):
            name = "429x1"
        if some := _FOR_SOME_TRIES.fullmatch(name):
            name = some[1] if number <= int(some[2]) else "200"
        if name.isdigit() and name != "200":
            headers = {"Retry-After": argument.rpartition(" ")[2]} if argument else None
            error = b'{"error":{"message":"told to","type":"test_error","param":null,"code":null}}'
            return _json(error, int(name), headers)
        match name:
            case "slow" | "latency":
                await asyncio.sleep(float(argument))
            case "stall":
                await asyncio.Event().wait()
            case "drop":
                _close(request)
                return None
            case "drop-midway":
                halfway = web.StreamResponse(headers={"Content-Length": "1000"})
                await halfway.prepare(request)
                await halfway.write(b'{"half":')
                _close(request)
                return None
            case "html":
                return web.Response(text="<html>\n<h1>It works!</h1>\n</html>", content_type="text/html")
            case "redirect":
                return web.Response(status=307, headers={"Location": "/elsewhere"}, text="moved")
            case "gzip":
                packed = gzip.compress(_success(line, name, argument))
                return _json(packed, 200, {"Content-Encoding": "gzip"})
            case _:
                pass
        return _json(_success(line, name, argument), 200)

    def _write(self, line: str, number: int, what: str, body: str = "", by: str = "", port: int = 0) -> None:
        entry = Entry(line, number, time.monotonic(), what, body, by, port)
        os.write(self._ledger, msgspec.json.encode(entry) + b"\n")
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def close(self) -> None:
        """Closes the ledger."""
        os.close(self._ledger)


def _named(response: web.StreamResponse | None) -> str:
    if response is None:
        return "dropped"
    return "html" if response.content_type == "text/html" else str(response.status)


def _port_of(request: web.BaseRequest) -> int:
    peer = None if request.transport is None else request.transport.get_extra_info("peername")
    return peer[1] if isinstance(peer, tuple) else 0


def _close(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


def _json(body: bytes, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def answer_to(line: str, directive: str) -> bytes:
    """The body of the success that a line gets in the end."""
    name, _, argument = directive.partition(" ")
    return _success(line, name, argument)


def _success(line: str, name: str, argument: str) -> bytes:
    """A chat completion whose text names its line; `name` says what is hard about it."""
    extra, text = b"", b"echo of " + line.encode()
    match name:
        case "big":
            text += b" " + b"x" * int(argument)
        case "emoji-half":
            text += b" \\ud83d"
        case "u2028":
            text += " \u2028 \U0001f600".encode()
        case "dup-keys":
            extra = b'"twice":1,"twice":2,'
        case "1e400":
            extra = b'"huge":1e400,'
        case "deep":
            extra = b'"deep":' + b"[" * int(argument) + b"]" * int(argument) + b","
        case _:
            pass
    body = (
        b'{"id":"chatcmpl-%b","object":"chat.completion","created":1,"model":"%b",%b'
        b'"choices":[{"index":0,"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}],%b}'
    ) % (line.encode(), MODEL.encode(), extra, text, _USAGE)
    return body.replace(b",", b",\n  ") if name == "pretty" else body


@asynccontextmanager
async def ledger_upstream(
    ledger: Path, *, port: int = 0, latency: float = 0.0, key: str | None = None
) -> AsyncIterator[LedgerUpstream]:
    """Runs the upstream in this process, on `port` or any free one."""
    upstream = LedgerUpstream(ledger, latency, key)
    server = web.Server(upstream.answer, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096)
    await site.start()
    upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield upstream
    finally:
        await runner.cleanup()
        upstream.close()


async def _serve(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    running = ledger_upstream(options.ledger, port=options.port, latency=options.latency, key=options.key)
    async with running as upstream:
        print(upstream.url, flush=True)
        await stopped.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An upstream that keeps a ledger.")
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--key", help="the only key it takes")
    asyncio.run(_serve(parser.parse_args()))
