"""Four events of the log are announced, each as the official SDK knows it."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from openai.types.webhooks import (
    BatchCancelledWebhookEvent,
    BatchCompletedWebhookEvent,
    BatchExpiredWebhookEvent,
    BatchFailedWebhookEvent,
)
from pydantic import BaseModel

from events.batch import BatchCancelled, BatchCompleted, BatchExpired, BatchFailed
from events.catalog import TYPES, Event, encode
from events.event import RecordedEvent
from events.webhooks.event import WEBHOOK_TYPES, Announcement, announcement_of, delivery_id

MOMENT = datetime(2026, 11, 24, 12, 0, 0, 999_999, tzinfo=UTC)
ENDS: dict[type[Event], tuple[Event, type[BaseModel]]] = {
    BatchCompleted: (BatchCompleted("file-1", None), BatchCompletedWebhookEvent),
    BatchFailed: (BatchFailed(()), BatchFailedWebhookEvent),
    BatchExpired: (BatchExpired("file-1", "file-2"), BatchExpiredWebhookEvent),
    BatchCancelled: (BatchCancelled(None, None), BatchCancelledWebhookEvent),
}


def recorded(type_: str, data: str = "{}") -> RecordedEvent:
    return RecordedEvent(7, UUID(int=255), "batch_1", 4, type_, "p", data, "{}", MOMENT)


@pytest.mark.parametrize("kind", ENDS, ids=lambda kind: kind.__name__)
def test_the_end_of_a_batch_is_what_the_sdk_expects(kind: type[Event]) -> None:
    event, model = ENDS[kind]
    announced = announcement_of(recorded(*encode(event)))
    assert announced is not None
    read = model.model_validate_json(announced.body(), strict=True)
    assert read.model_dump() == {
        "id": f"evt_{255:032x}",
        "object": "event",
        "type": announced.type,
        "created_at": int(MOMENT.timestamp()),
        "data": {"id": "batch_1"},
    }


def test_every_type_that_is_offered_is_announced_and_nothing_else() -> None:
    announced = [announcement_of(recorded(name)) for name in TYPES]
    assert sorted(one.type for one in announced if one) == sorted(WEBHOOK_TYPES)


def test_the_message_is_thin() -> None:
    body = Announcement("evt_1", "batch.failed", "batch_1", 5).body()
    assert set(json.loads(body)) == {"id", "object", "type", "created_at", "data"}
    assert len(body) < 300


def test_a_message_to_an_endpoint_has_one_id_however_often_it_is_made() -> None:
    ids = {delivery_id(event, endpoint) for event in ("evt_1", "evt_2") for endpoint in ("we_1", "we_2")}
    assert len(ids) == 4
    assert delivery_id("evt_1", "we_1") in ids
    assert all(id.startswith("wh_") for id in ids)
