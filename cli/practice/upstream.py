"""`batchmill practice-upstream`: a small OpenAI-compatible server without a model, to try things out.

It echoes, as slowly and as unreliably as it is told to. It is never used unless it is named.
"""

import asyncio
import random
import signal
from contextlib import suppress
from typing import Final

import msgspec
from aiohttp import web

from cli.practice.answers import MODEL, Refusal, answer, models
from cli.settings_values import parse_duration
from events.errors import SettingsError

PORT: Final = 9199
RETRY_AFTER: Final = "1"
LARGEST_REQUEST: Final = 32 << 20


class Temper(msgspec.Struct, frozen=True):
    """How it behaves: `latency` in seconds before each answer, the shares of requests that get a 500 and a
    429 instead of an answer, and the seed of the chance by which they are chosen."""

    latency: float = 0.0
    error_rate: float = 0.0
    throttle_rate: float = 0.0
    seed: int = 0


class PracticeUpstream:
    """A running one; `url` is what to give as `--upstream`."""

    def __init__(self, temper: Temper, key: str | None) -> None:
        self.url = ""
        self._temper = temper
        self._key = key
        self._chance = random.Random(temper.seed)
        self._runner = web.ServerRunner(
            web.Server(self._handle, access_log=None, handler_cancellation=True), shutdown_timeout=1.0
        )

    async def listen(self, host: str, port: int) -> None:
        """Takes the port; 0 is any free one. Raises `SettingsError` where it is taken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, backlog=1024).start()
        except OSError as error:
            await self._runner.cleanup()
            raise SettingsError(
                f"cannot listen at {host}:{port} ({error.strerror}): give another --port, 0 for any free one"
            ) from None
        taken = self._runner.addresses[0][1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{taken}/v1"

    async def close(self) -> None:
        """Ends what is under way, and gives back the port."""
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return _json(200, await self._answer(request))
        except Refusal as refusal:
            kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
            error = {"message": str(refusal), "type": kind, "param": refusal.param, "code": refusal.code}
            response = _json(refusal.status, {"error": error})
            if refusal.status == 429:
                response.headers["Retry-After"] = RETRY_AFTER
            return response

    async def _answer(self, request: web.BaseRequest) -> dict[str, object]:
        if self._key is not None and request.headers.get("Authorization") != f"Bearer {self._key}":
            raise Refusal(401, "Incorrect API key provided.", code="invalid_api_key")
        if request.method == "GET" and request.path == "/v1/models":
            return models()
        if request.method != "POST":
            raise Refusal(405, f"Not allowed to {request.method} on {request.path}.")
        body = await request.clone(client_max_size=LARGEST_REQUEST).read()
        luck = self._chance.random()
        await asyncio.sleep(self._temper.latency)
        if luck < self._temper.error_rate:
            raise Refusal(500, "The practice upstream was told to fail sometimes.")
        if luck < self._temper.error_rate + self._temper.throttle_rate:
            raise Refusal(
                429, "The practice upstream was told to be busy sometimes.", code="rate_limit_exceeded"
            )
        return answer(request.path, body)


def _json(status: int, body: dict[str, object]) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")


async def start_practice_upstream(
    host: str = "127.0.0.1", port: int = PORT, *, temper: Temper | None = None, key: str | None = None
) -> PracticeUpstream:
    """Starts one in this event loop; `close` it at the end. Raises `SettingsError` for a port in use."""
    upstream = PracticeUpstream(temper or Temper(), key)
    await upstream.listen(host, port)
    return upstream


def practice_upstream(
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    latency: str = "20ms",
    error_rate: float = 0.0,
    throttle_rate: float = 0.0,
    seed: int = 0,
) -> None:
    """Answer lines as a model would, for trying things out. It echoes; a token is a word.

    $ batchmill practice-upstream --latency 50ms --error-rate 0.05

    Parameters
    ----------
    host
        Where to listen.
    port
        0 takes any free one.
    latency
        Time before every answer, such as 50ms.
    error_rate
        Share of the requests that get a 500, from 0 to 1.
    throttle_rate
        Share of the requests that get a 429 with Retry-After, from 0 to 1.
    seed
        Another seed lets other requests fail.
    """
    try:
        seconds = parse_duration(latency)
    except ValueError:
        raise SettingsError(f"--latency {latency} is no duration: give one such as 50ms or 2s") from None
    if min(error_rate, throttle_rate) < 0 or error_rate + throttle_rate > 1:
        raise SettingsError("--error-rate and --throttle-rate are shares: from 0 to 1, also together")
    asyncio.run(_serve(host, port, Temper(seconds, error_rate, throttle_rate, seed)))


async def _serve(host: str, port: int, temper: Temper) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    upstream = await start_practice_upstream(host, port, temper=temper)
    try:
        print(f"Answering as model {MODEL} at {upstream.url} until Ctrl-C. In another terminal:", flush=True)
        print(f"  batchmill serve --upstream {upstream.url}", flush=True)
        await stopped.wait()
    finally:
        await upstream.close()
