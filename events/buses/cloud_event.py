"""An event of the log as others get it: a CloudEvent 1.0 in binary mode.

The binding for AMQP 1.0 is carried over to AMQP 0-9-1: the data is the body, its media type the property
`content_type`, every other attribute a header `cloudEvents_<name>`. For readers:
docs/how-to/consume-events.md.
"""

from typing import Final
from uuid import UUID

from aio_pika import DeliveryMode, Message
from pamqp.common import FieldValue

from events.catalog import kind_of
from events.event import RecordedEvent
from events.origin import Origin
from events.reads import is_of_reads

HEADER: Final = "cloudEvents_"
TYPE: Final = "batchmill."
SCHEMA: Final = "urn:batchmill:event:"


def attributes(event: RecordedEvent, incarnation: UUID) -> dict[str, FieldValue]:
    """The attributes of an event, by name. Beside those of CloudEvents: the `project`; the `actor`, the id of
    a key or a role, and the `traceparent` of the extension for distributed tracing, where it says them; the
    place in the stream (`streamversion`, counted from 1 without gaps) and in the whole log (`position`, a
    string since it may pass 32 bits)."""
    origin = Origin.of(event.metadata)
    said = {"actor": origin.actor, "traceparent": origin.traceparent}
    return {
        "specversion": "1.0",
        "id": str(event.event_id),
        "source": f"/batchmill/logs/{incarnation}",
        "type": TYPE + event.type,
        "subject": event.stream_id,
        "time": event.recorded_at.isoformat().replace("+00:00", "Z"),
        "dataschema": SCHEMA + event.type,
        "project": event.project_id,
        **{name: value for name, value in said.items() if value is not None},
        "streamversion": event.version,
        "position": str(event.position),
    }


def routing_key(event: RecordedEvent) -> str:
    """`<kind>.<type>.<project>`, such as `batch.BatchCompleted.research`: always three words."""
    kind = kind_of(event.stream_id)
    other = "read" if is_of_reads(event.stream_id) else "other"
    words = (other if kind is None else kind.__name__.lower(), event.type, event.project_id)
    return ".".join(word.replace(".", "-") for word in words)


def message(event: RecordedEvent, incarnation: UUID) -> Message:
    """The message that carries an event."""
    return Message(
        event.data.encode(),
        content_type="application/json",
        message_id=str(event.event_id),
        timestamp=event.recorded_at,
        delivery_mode=DeliveryMode.PERSISTENT,
        headers={HEADER + name: value for name, value in attributes(event, incarnation).items()},
    )
