"""The port to an inference server: three methods, and the few ways in which no answer comes back.

Any status is an answer, 3xx, 4xx and 5xx too; what it means for a line is decided by `engine.retry`, what is
kept of it by `engine.answer`. `engine.http_upstream` is the one that speaks HTTP.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from events.errors import BatchmillError

ANSWER_CAP: Final = 16 << 20
"""Most bytes of one answer's body, after decompression."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An HTTP answer, read to its end. Header names are looked up in lower case; the body is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ModelsAnswer(msgspec.Struct, frozen=True):
    """What `GET /models` said.

    `models` are the ids of a well-formed list (it may be empty), or None where the answer was none: then the
    upstream lives and nothing is known of its models.
    """

    status: int
    models: frozenset[str] | None


class UpstreamFailure(BatchmillError):
    """No usable HTTP answer came back.

    `reason` says it in a few words that name the upstream ("connection refused by http://…"); the message
    adds the remedy. Neither ever holds the key.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}: {remedy}")
        self.reason = reason


class ConnectFailed(UpstreamFailure):
    """There was no connection: nothing of the request was seen by the upstream."""


class TimedOut(UpstreamFailure):
    """The answer was not whole in time; the upstream may still be working on the request."""


class ConnectionDropped(UpstreamFailure):
    """The connection ended, or stopped being HTTP, before the answer was whole."""


class AnswerTooLarge(UpstreamFailure):
    """The answer's body is larger than `limit` bytes; the rest of it was not read."""

    def __init__(self, url: str, limit: int) -> None:
        super().__init__(
            f"an answer of more than {limit} bytes from {url}",
            "ask for less in the request, or raise the answer cap",
        )
        self.limit = limit


class Upstream(Protocol):
    """One inference server. Safe for concurrent use; cancelling a call leaks nothing."""

    @property
    def url(self) -> str:
        """Where it is, as messages show it."""
        ...

    async def send(self, path: str, body: bytes, *, timeout: float) -> Answer:
        """Posts `body`, unchanged, to `path` (as a line names it: `/v1/chat/completions`).

        `timeout` is for the whole call, in seconds. Redirects are not followed. Raises `UpstreamFailure`.
        """
        ...

    async def models(self) -> ModelsAnswer:
        """Asks `GET /models` with the upstream's key: the probe of a route, and what it serves.

        An answer that is no list, or is too large for one, is an answer. Raises `UpstreamFailure`.
        """
        ...

    async def close(self) -> None:
        """Gives back the connections; the upstream is not used afterwards."""
        ...
