"""An OpenAI-compatible server over HTTP, by aiohttp.

The path of a line is hot: everything that can be made once (session headers, URLs, time-outs) is, and a call
makes no task of its own. Concurrency is the caller's: the connector has no limit.
"""

import io
import os
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from engine.upstream import (
    ANSWER_CAP,
    Answer,
    AnswerTooLarge,
    ConnectFailed,
    ConnectionDropped,
    ModelsAnswer,
    TimedOut,
    UpstreamFailure,
)
from events.errors import SettingsError

CONNECT_TIMEOUT: Final = 10.0
READ_TIMEOUT: Final = 600.0
PROBE_TIMEOUT: Final = 10.0

_KEEPALIVE: Final = 4.0
"""Seconds an idle connection is kept: less than the 5 s after which uvicorn (vLLM, SGLang) and Node close it,
so that a request seldom meets a connection which is just being closed."""

_BODY_IN_ONE_PIECE: Final = 1 << 20
"""aiohttp writes `bytes` in one piece and warns above this; a larger body goes out in pieces."""


class HttpUpstream:
    """An upstream at `url`, the address its `/v1` stands at (`http://localhost:8000/v1`).

    `connect_timeout` covers name, TCP and TLS; `read_timeout` is the longest silence; the time-out of a call
    is its total. `answer_cap` counts decompressed bytes. Proxies and netrc of the environment are not used,
    cookies not kept, and the key goes into the Authorization header only. Create it in a running event loop.
    Raises `SettingsError` for a URL it cannot use.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        probe_timeout: float = PROBE_TIMEOUT,
        answer_cap: int = ANSWER_CAP,
    ) -> None:
        self._url = _checked(url)
        self._urls: dict[str, URL] = {}
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._probe_timeout = probe_timeout
        self._answer_cap = answer_cap
        self._timeout = self._time_limits(read_timeout)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_headers(key),
            trust_env=False,
        )

    @property
    def url(self) -> str:
        """Where it is, as messages show it."""
        return self._url

    async def send(self, path: str, body: bytes, *, timeout: float) -> Answer:
        """See `Upstream.send`."""
        url = self._urls.get(path) or self._remember(path)
        if timeout != self._timeout.total:
            self._timeout = self._time_limits(timeout)
        data = body if len(body) <= _BODY_IN_ONE_PIECE else io.BytesIO(body)
        try:
            response = await self._session.post(url, data=data, allow_redirects=False, timeout=self._timeout)
            return await self._read(response)
        except (aiohttp.ClientError, OSError) as error:
            failure = self._failure(error, timeout)
        # Raised out here so that no chain of exceptions leads to aiohttp's, which hold the request's headers.
        raise failure

    async def models(self) -> ModelsAnswer:
        """See `Upstream.models`."""
        url = self._urls.get("/v1/models") or self._remember("/v1/models")
        try:
            response = await self._session.get(
                url, allow_redirects=False, timeout=self._time_limits(self._probe_timeout)
            )
            try:
                answer = await self._read(response)
            except AnswerTooLarge:
                return ModelsAnswer(response.status, None)
            return ModelsAnswer(answer.status, _model_ids(answer))
        except (aiohttp.ClientError, OSError) as error:
            failure = self._failure(error, self._probe_timeout)
        raise failure

    async def close(self) -> None:
        """See `Upstream.close`."""
        await self._session.close()

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        """Reads a body to its end, so that its connection is used again; at a stop it is closed instead."""
        cap = self._answer_cap
        blocks = []
        size = 0
        try:
            if (response.content_length or 0) > cap:
                raise AnswerTooLarge(self._url, cap)
            while block := await response.content.readany():
                size += len(block)
                if size > cap:
                    raise AnswerTooLarge(self._url, cap)
                blocks.append(block)
        except BaseException:
            response.close()
            raise
        body = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        return Answer(response.status, response.headers, body)

    def _remember(self, path: str) -> URL:
        url = self._urls[path] = URL(self._url + path.removeprefix("/v1"))
        return url

    def _time_limits(self, total: float) -> aiohttp.ClientTimeout:
        """A limit that the total covers anyway is left out: each costs a timer a request."""
        return aiohttp.ClientTimeout(
            total=total,
            connect=min(self._connect_timeout, total),
            sock_read=self._read_timeout if self._read_timeout < total else None,
            ceil_threshold=60.0,
        )

    def _failure(self, error: aiohttp.ClientError | OSError, timeout: float) -> UpstreamFailure:
        """Puts an exception of the client into the port's words, without the request that it may hold."""
        match error:
            case aiohttp.ConnectionTimeoutError():
                return ConnectFailed(
                    f"no connection to {self._url} within {min(self._connect_timeout, timeout):g} s",
                    "see that the upstream runs and can be reached from here",
                )
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
                return ConnectFailed(
                    f"no trusted TLS connection to {self._url} ({_what(error)})",
                    "see its certificate, and that the upstream's URL begins with the right scheme",
                )
            case aiohttp.ClientConnectorDNSError():
                return ConnectFailed(
                    f"no address found for {self._url}", "see that the upstream's URL is spelled right"
                )
            case ConnectionRefusedError() | aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
                return ConnectFailed(
                    f"connection refused by {self._url}", "see that the upstream runs and listens there"
                )
            case aiohttp.ClientConnectorError():
                return ConnectFailed(
                    f"no connection to {self._url} ({_what(error)})",
                    "see that the upstream runs and can be reached from here",
                )
            case TimeoutError():
                limit = min(self._read_timeout, timeout)
                return TimedOut(
                    f"no whole answer from {self._url} within {limit:g} s",
                    "see how busy the upstream is, ask for less in the request, or raise the line time-out",
                )
            case aiohttp.ClientResponseError():
                return ConnectionDropped(
                    f"no valid HTTP from {self._url}", "see that the upstream's URL names an HTTP API"
                )
            case aiohttp.ClientPayloadError():
                return ConnectionDropped(
                    f"an answer cut short by {self._url}", "see the upstream's log for a crash or a restart"
                )
            case aiohttp.ServerDisconnectedError() | ConnectionResetError():
                return ConnectionDropped(
                    f"connection dropped by {self._url}", "see the upstream's log for a crash or a restart"
                )
            case _:
                return ConnectionDropped(
                    f"connection dropped by {self._url} ({_what(error)})",
                    "see the upstream's log for a crash or a restart",
                )


def _what(error: BaseException) -> str:
    """A few words on an error of the system; of aiohttp's own only the kind, as its text can be anything."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else type(error).__name__


def _checked(url: str) -> str:
    try:
        parsed = URL(url)
    except ValueError:
        raise SettingsError(
            f"upstream URL {url!r} is not a URL: give one like http://localhost:8000/v1"
        ) from None
    if parsed.user is not None or parsed.password is not None:
        raise SettingsError(
            f"upstream URL of {parsed.host} holds a password: give the key in BATCHMILL_UPSTREAM_API_KEY"
        )
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query_string or parsed.fragment:
        raise SettingsError(
            f"upstream URL {url!r} cannot be used: give one like http://localhost:8000/v1, without a query"
        )
    return str(parsed).rstrip("/")


def _headers(key: str | None) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
        "User-Agent": "batchmill",
    }
    if key is not None:
        if not key.isascii() or not key.isprintable() or " " in key:
            raise SettingsError(
                "the upstream's key holds a space, a line end or a sign outside ASCII: "
                "see BATCHMILL_UPSTREAM_API_KEY or its file"
            )
        headers["Authorization"] = f"Bearer {key}"
    return headers


class _Model(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_Model]
    has_more: bool = False


def _model_ids(answer: Answer) -> frozenset[str] | None:
    """The ids of a whole list; a page of one, or what is no list, names no models."""
    if answer.status != 200:
        return None
    try:
        listed = msgspec.json.decode(answer.body, type=_ModelList)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if listed.has_more else frozenset(model.id for model in listed.data)
