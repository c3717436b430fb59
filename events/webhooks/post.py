"""The port through which messages leave for webhook endpoints; `engine/webhooks/poster.py` speaks HTTP."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from events.errors import BatchmillError


class NotAnswered(BatchmillError):
    """A receiver gave no answer; the message says why: out of reach, refused to be reached, or too slow."""


class PostAnswer(msgspec.Struct, frozen=True):
    """What a receiver said: the HTTP status, and after how many seconds it wants to be asked again (None: it
    did not say)."""

    status: int
    retry_after: float | None = None


class WebhookPost(Protocol):
    """Sends one message at a time to whoever is to hear it."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> PostAnswer:
        """The head of a receiver's answer, which is not read further. Follows no redirect, and connects to no
        address that is refused. Raises `NotAnswered`."""
        ...
