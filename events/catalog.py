"""Every event type by its name in the log: the only place that turns events into text and back.

A type, once written, is never changed in place. A new shape gets a new name (`LinesCompleted.v2`) and an
upcaster from the old one, a pure function on plain data that runs before construction (the habit of the
eventsourcing library). New fields with defaults need none. `tests/events/golden/` holds every shape ever
written.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar
from uuid import UUID, uuid4

import msgspec

from events import batch, file, key, upload
from events.audit import keys as audit_keys
from events.audit.keys import AuditEvent
from events.batch import BatchEvent
from events.errors import UnknownEvent
from events.event import Attachment, NewEvent, RecordedEvent
from events.file import FileEvent
from events.key import KeyEvent
from events.origin import Origin
from events.reads import ContentRead, ReadEvent
from events.upload import UploadEvent
from events.webhooks import endpoint as webhook_endpoint
from events.webhooks.endpoint import WebhookEndpointEvent

Event = BatchEvent | FileEvent | KeyEvent | UploadEvent | WebhookEndpointEvent | AuditEvent | ReadEvent
State = (
    batch.Batch
    | file.File
    | key.Key
    | upload.Upload
    | webhook_endpoint.WebhookEndpoint
    | audit_keys.AuditKeys
)
Plain = dict[str, object]

TYPES: Final[Mapping[str, type[Event]]] = {
    kind.__name__: kind
    for kind in (
        batch.BatchCreated,
        batch.LinesIndexed,
        batch.BatchStarted,
        batch.BatchFailed,
        batch.LinesCompleted,
        batch.BatchCancelRequested,
        batch.BatchExpiryReached,
        batch.BatchFinalizing,
        batch.BatchCompleted,
        batch.BatchCancelled,
        batch.BatchExpired,
        file.FileCreated,
        file.FileDeleted,
        file.FileExpired,
        key.KeyCreated,
        key.KeyRestricted,
        key.KeyRevoked,
        upload.UploadCreated,
        upload.UploadPartAdded,
        upload.UploadCompleted,
        upload.UploadCancelled,
        upload.UploadExpired,
        webhook_endpoint.WebhookEndpointCreated,
        webhook_endpoint.WebhookEndpointUpdated,
        webhook_endpoint.WebhookSecretRotated,
        webhook_endpoint.WebhookEndpointDisabled,
        webhook_endpoint.WebhookEndpointEnabled,
        webhook_endpoint.WebhookEndpointDeleted,
        audit_keys.AuditKeyAdopted,
        ContentRead,
    )
}

Upcaster = Callable[[Plain], tuple[str, Plain]]
UPCASTERS: Final[Mapping[str, Upcaster]] = {}
"""Old type name → what lifts its data one shape up: the next type name and data."""

S = TypeVar("S")


_KINDS: Final[Mapping[str, type[State]]] = {
    "batch_": batch.Batch,
    "file-": file.File,
    "key_": key.Key,
    "upload_": upload.Upload,
    "we_": webhook_endpoint.WebhookEndpoint,
    audit_keys.STREAM: audit_keys.AuditKeys,
}
"""What a stream is a stream of, by how its id begins."""


def kind_of(stream_id: str) -> type[State] | None:
    """The class of a stream's state; None for one of a newer program, or of reads."""
    return next((kind for prefix, kind in _KINDS.items() if stream_id.startswith(prefix)), None)


def encode(event: Event) -> tuple[str, str]:
    """The type name and the JSON text of an event."""
    return type(event).__name__, msgspec.json.encode(event).decode()


def decode(
    type_: str,
    data: str,
    types: Mapping[str, type[Event]] = TYPES,
    upcasters: Mapping[str, Upcaster] = UPCASTERS,
) -> Event:
    """The event of a type name and its JSON text, old shapes lifted.

    Raises `UnknownEvent` for a type that this program does not know, or data that does not fit its type.
    """
    try:
        if type_ in types:
            return msgspec.json.decode(data, type=types[type_])
        plain = msgspec.json.decode(data, type=Plain) if type_ in upcasters else {}
        while type_ in upcasters:
            type_, plain = upcasters[type_](plain)
        if type_ in types:
            return msgspec.convert(plain, types[type_])
    except msgspec.MsgspecError as error:
        raise UnknownEvent(f"the data of an event of type {type_!r} does not fit: {error}") from error
    raise UnknownEvent(f"no event type {type_!r} in this program: a newer one wrote it; upgrade to read on")


def new_event(
    stream_id: str,
    project_id: str,
    event: Event,
    *,
    event_id: UUID | None = None,
    metadata: str = "{}",
    lines: bytes | None = None,
    attachments: tuple[Attachment, ...] = (),
) -> NewEvent:
    """An event made ready for the log; its id is random unless the caller has a better one."""
    type_, data = encode(event)
    return NewEvent(
        event_id=event_id or uuid4(),
        stream_id=stream_id,
        project_id=project_id,
        type=type_,
        data=data,
        metadata=metadata,
        lines=lines,
        attachments=attachments,
    )


def fold(state: State | None, recorded: RecordedEvent) -> State:
    """The state of a stream after one more recorded event, whatever kind of stream it is.

    Raises `UnknownEvent` where it cannot be folded.
    """
    event = decode(recorded.type, recorded.data)
    second = recorded.second
    try:
        if isinstance(event, FileEvent):
            return file.evolve(_expect(state, file.File), event, second)
        if isinstance(event, KeyEvent):
            return key.evolve(_expect(state, key.Key), event, second)
        if isinstance(event, UploadEvent):
            return upload.evolve(_expect(state, upload.Upload), event, second)
        if isinstance(event, WebhookEndpointEvent):
            endpoint = _expect(state, webhook_endpoint.WebhookEndpoint)
            return webhook_endpoint.evolve(endpoint, event, second)
        if isinstance(event, AuditEvent):
            return audit_keys.evolve(_expect(state, audit_keys.AuditKeys), event, second)
        if isinstance(event, ReadEvent):
            raise TypeError("nothing is folded of reads")
        traceparent = Origin.of(recorded.metadata).traceparent if state is None else None
        return batch.evolve(_expect(state, batch.Batch), event, second, traceparent)
    except (TypeError, ValueError) as error:
        raise UnknownEvent(f"event {recorded.event_id} does not follow on its stream: {error}") from error


def _expect(state: State | None, kind: type[S]) -> S | None:
    if state is None or isinstance(state, kind):
        return state
    raise TypeError(f"an event for a {kind.__name__} on the stream of a {type(state).__name__}")
