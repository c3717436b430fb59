"""What webhooks are told: the four ends of a batch, in the shape in which OpenAI sends them.

The message is thin: it names the batch, and whoever wants more asks for it. It follows from the event in the
log alone, so that telling it again tells the same.
"""

import hashlib
from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from events.batch import BatchCancelled, BatchCompleted, BatchExpired, BatchFailed
from events.event import RecordedEvent

WebhookType = Literal["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
WEBHOOK_TYPES: Final[tuple[WebhookType, ...]] = get_args(WebhookType)

_ENDS: Final[Mapping[str, WebhookType]] = {
    BatchCompleted.__name__: "batch.completed",
    BatchFailed.__name__: "batch.failed",
    BatchExpired.__name__: "batch.expired",
    BatchCancelled.__name__: "batch.cancelled",
}


class Announcement(msgspec.Struct, frozen=True):
    """One message. `id` is `evt_…`, `happened_at` the Unix second at which the batch came to its end."""

    id: str
    type: WebhookType
    batch_id: str
    happened_at: int

    def body(self) -> bytes:
        """The JSON that is sent."""
        return msgspec.json.encode(_Body(self.id, self.type, self.happened_at, _Data(self.batch_id)))


class _Data(msgspec.Struct, frozen=True):
    id: str


class _Body(msgspec.Struct, frozen=True):
    id: str
    type: WebhookType
    created_at: int
    data: _Data
    object: Literal["event"] = "event"


def announcement_of(event: RecordedEvent) -> Announcement | None:
    """What webhooks are told of an event of the log; None for one that is no end of a batch."""
    type_ = _ENDS.get(event.type)
    if type_ is None:
        return None
    return Announcement(f"evt_{event.event_id.hex}", type_, event.stream_id, event.second)


def delivery_id(announcement_id: str, endpoint_id: str) -> str:
    """`wh_` and 32 hex digits: the id of a message on its way to one endpoint, the same however often it is
    made or sent."""
    return "wh_" + hashlib.sha256(f"{announcement_id} {endpoint_id}".encode()).hexdigest()[:32]
