"""The operations on webhook endpoints and their deliveries."""

from typing import Final

from api.openapi import samples
from api.openapi.entry import JSON, Body, Entry, Example, Refused, Schema
from api.openapi.parts import fields, one_of, page
from api.openapi.refusals import HEAD, IN_BODY, IN_PAGE, NO_OBJECT
from api.webhooks import deliveries, endpoints
from api.webhooks.wire import EndpointDeleted, EndpointTested, EventTypes
from api.wire import list_object
from events.webhooks.event import WEBHOOK_TYPES
from events.webhooks.url import LONGEST_URL

_TAG: Final = "Webhooks"
_PER_PAGE: Final = 20
_MOST: Final = 100
_NO_SIGNING: Final = Refused(otherwise="This server has no key to sign with. Not to be retried.")
_SHOWN_CODES: Final = ("invalid_value", "string_above_max_length", "string_below_min_length", "empty_array")
_EVENT_TYPES: Final[Schema] = {"type": "array", "items": one_of(*WEBHOOK_TYPES), "minItems": 1}
_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"\S"}
_URL: Final[Schema] = {
    "type": "string",
    "maxLength": LONGEST_URL,
    "pattern": "^[!-~]+$",
    "description": "An HTTPS URL, without a password, that leads to no private address.",
}
_UPDATE: Final = fields({}, {"event_types": _EVENT_TYPES, "name": _NAME, "url": _URL})
_CREATION: Final = fields({"event_types": _EVENT_TYPES, "name": _NAME, "url": _URL}, {})


def entries() -> tuple[Entry, ...]:
    """Every operation on webhooks."""
    return (*_endpoint_entries(), *_delivery_entries())


def _endpoint_entries() -> tuple[Entry, ...]:
    return (
        Entry(
            handler=endpoints.create_endpoint,
            tag=_TAG,
            summary="Create a webhook endpoint",
            says="It is told of the ends of batches from now on. Its secret is shown this once.",
            body=Body(content={JSON: _CREATION}),
            refuses={
                400: Refused(
                    codes=(*IN_BODY, *_SHOWN_CODES, "too_many_webhook_endpoints"),
                    otherwise=f"{NO_OBJECT} Or: {HEAD}",
                ),
                503: _NO_SIGNING,
            },
            gives={"endpoint_id": "/id"},
            examples={
                "created": Example(
                    says="An endpoint for two types of events.",
                    body={
                        "event_types": ["batch.completed", "batch.failed"],
                        "name": "nightly",
                        "url": "https://example.com/webhooks",
                    },
                    answer=samples.HOOK_WITH_SECRET,
                )
            },
        ),
        Entry(
            handler=endpoints.list_endpoints,
            tag=_TAG,
            summary="List webhook endpoints",
            says="The newest first.",
            parameters=page(_MOST, _PER_PAGE),
            refuses={
                400: Refused(codes=IN_PAGE, otherwise=HEAD),
                404: Refused(otherwise="There is no endpoint with the id `after`."),
            },
            gives={"endpoint_id": "/data/0/id"},
            examples={
                "newest": Example(
                    says="The last one that was made.",
                    query={"limit": 1},
                    answer=list_object([samples.HOOK_OBJECT], has_more=True),
                )
            },
        ),
        Entry(
            handler=endpoints.retrieve_endpoint,
            tag=_TAG,
            summary="Retrieve a webhook endpoint",
            examples={"one": Example(says="One that is told.", answer=samples.HOOK_OBJECT)},
        ),
        Entry(
            handler=endpoints.update_endpoint,
            tag=_TAG,
            summary="Change a webhook endpoint",
            says="What is not named stays as it is.",
            body=Body(content={JSON: _UPDATE}),
            refuses={400: Refused(codes=(*IN_BODY[1:], *_SHOWN_CODES), otherwise=f"{NO_OBJECT} Or: {HEAD}")},
            examples={
                "named": Example(says="A new name.", body={"name": "nightly"}, answer=samples.HOOK_OBJECT)
            },
        ),
        Entry(
            handler=endpoints.delete_endpoint,
            tag=_TAG,
            summary="Delete a webhook endpoint",
            examples={
                "one": Example(
                    says="One that is not needed.",
                    path={"endpoint_id": samples.DELETED_HOOK},
                    answer=EndpointDeleted(samples.DELETED_HOOK),
                )
            },
        ),
        Entry(
            handler=endpoints.rotate_secret,
            tag=_TAG,
            summary="Make a new secret",
            says="It is shown this once.",
            body=Body(
                content={JSON: fields({}, {"keep_old_secret_active_for_24_hours": {"type": "boolean"}})},
                required=False,
                says="Whether the old secret signs, too, for a day. Default: no.",
            ),
            refuses={
                400: Refused(codes=IN_BODY[1:], otherwise=f"{NO_OBJECT} Or: {HEAD}"),
                503: _NO_SIGNING,
            },
            examples={
                "kept": Example(
                    says="With time to change it.",
                    body={"keep_old_secret_active_for_24_hours": True},
                    answer=samples.HOOK_WITH_SECRET,
                )
            },
        ),
        Entry(
            handler=endpoints.test_endpoint,
            tag=_TAG,
            summary="Send a sample",
            says="Once, and tells what was answered. The batch that it names there is not.",
            body=Body(content={JSON: fields({"event_type": one_of(*WEBHOOK_TYPES)}, {})}),
            refuses={
                400: Refused(
                    codes=(*IN_BODY, "invalid_value", "webhook_test_failed"),
                    otherwise=f"{NO_OBJECT} Or: {HEAD}",
                ),
                503: _NO_SIGNING,
            },
            examples={
                "taken": Example(
                    says="The receiver took it.",
                    path={"endpoint_id": samples.HEARD_HOOK},
                    body={"event_type": "batch.completed"},
                    answer=EndpointTested(
                        event_type="batch.completed", status_code=204, webhook_endpoint_id=samples.HEARD_HOOK
                    ),
                )
            },
        ),
        Entry(
            handler=endpoints.list_event_types,
            tag=_TAG,
            summary="The types of events",
            examples={"all": Example(says="All of them.", answer=EventTypes(WEBHOOK_TYPES))},
        ),
        Entry(
            handler=endpoints.enable_endpoint,
            tag=_TAG,
            summary="Enable a webhook endpoint",
            says="Batchmill's own. One that answered 410, or failed for long, is told nothing until then.",
            examples={"one": Example(says="One that is told already.", answer=samples.HOOK_OBJECT)},
        ),
    )


def _delivery_entries() -> tuple[Entry, ...]:
    return (
        Entry(
            handler=deliveries.list_deliveries,
            tag=_TAG,
            summary="What was sent to an endpoint",
            says="Batchmill's own. The newest first, for 30 days.",
            parameters=page(_MOST, _PER_PAGE),
            refuses={
                400: Refused(codes=IN_PAGE, otherwise=HEAD),
                404: Refused(otherwise="There is no delivery with the id `after`."),
            },
            gives={"delivery_id": "/data/0/id"},
            examples={
                "waiting": Example(
                    says="One that is on its way.",
                    answer=list_object([samples.DELIVERY_OBJECT], has_more=False),
                )
            },
        ),
        Entry(
            handler=deliveries.redeliver,
            tag=_TAG,
            summary="Send again",
            says="Batchmill's own. Soon, whatever became of it, under the same `webhook-id`.",
            refuses={404: Refused(otherwise="The endpoint has no such delivery.")},
            examples={"soon": Example(says="One more time.", answer=samples.DELIVERY_OBJECT)},
        ),
    )
