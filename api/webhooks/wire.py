"""Webhook endpoints and their deliveries as they go over the wire.

What a strict client knows of an endpoint is what the official SDK does; `batchmill` in it is ours, and so are
deliveries altogether.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from events.read_models import Seen
from events.webhooks.deliveries import Delivery, DeliveryState
from events.webhooks.endpoint import WebhookEndpoint


class EndpointLive(msgspec.Struct, frozen=True):
    """Whether an endpoint is told anything: since when not, and why."""

    disabled_at: int | None
    disabled_because: str | None


class EndpointObject(msgspec.Struct, frozen=True, kw_only=True):
    """`webhook_endpoint`"""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    updated_at: int
    event_types: Sequence[str]
    name: str
    url: str
    signing_secret_hint: str
    batchmill: EndpointLive


class EndpointWithSecret(EndpointObject, frozen=True, kw_only=True):
    """The same with its secret, which is shown this once."""

    signing_secret: str


class EndpointDeleted(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: bool = True


class EndpointTested(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver answered to a sample."""

    event_type: str
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    status_code: int
    success: bool = True
    webhook_endpoint_id: str


class EventTypes(msgspec.Struct, frozen=True):
    """The types of events that can be asked for."""

    data: Sequence[str]
    object: Literal["list"] = "list"


class DeliveryObject(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one endpoint. `status_code` is that of the last answer, `error` why the last attempt
    failed; `next_attempt_at` is null where nothing more will be sent."""

    id: str
    object: Literal["batchmill.webhook_delivery"] = "batchmill.webhook_delivery"
    webhook_endpoint_id: str
    event_id: str
    event_type: str
    batch_id: str
    status: DeliveryState
    attempts: int
    status_code: int | None
    error: str | None
    created_at: int
    last_attempt_at: int | None
    next_attempt_at: int | None


def endpoint_object(seen: Seen[WebhookEndpoint]) -> EndpointObject:
    """An endpoint as its events made it."""
    endpoint = seen.state
    return EndpointObject(
        id=seen.id,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
        event_types=endpoint.event_types,
        name=endpoint.name,
        url=endpoint.url,
        signing_secret_hint=endpoint.secret.hint,
        batchmill=EndpointLive(endpoint.disabled_at, endpoint.disabled_because),
    )


def endpoint_with_secret(seen: Seen[WebhookEndpoint], secret: str) -> EndpointWithSecret:
    """The same with its secret."""
    shown = endpoint_object(seen)
    return EndpointWithSecret(
        **{name: getattr(shown, name) for name in shown.__struct_fields__}, signing_secret=secret
    )


def delivery_object(endpoint_id: str, delivery: Delivery) -> DeliveryObject:
    """A delivery as it stands."""
    return DeliveryObject(
        id=delivery.id,
        webhook_endpoint_id=endpoint_id,
        event_id=delivery.event_id,
        event_type=delivery.type,
        batch_id=delivery.batch_id,
        status=delivery.state,
        attempts=delivery.attempts,
        status_code=delivery.status,
        error=delivery.error,
        created_at=delivery.created_at,
        last_attempt_at=delivery.attempted_at,
        next_attempt_at=delivery.due_at,
    )
