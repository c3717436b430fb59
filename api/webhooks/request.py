"""What a client may ask for of a webhook endpoint: the checks of the bodies, in the order of their fields."""

from collections.abc import Mapping
from typing import Final, cast

from api.errors import ApiError, invalid_type, invalid_value, too_long
from api.json_body import json_object, one_of, refuse_unknown, required, text
from events.webhooks.endpoint import UpdateWebhookEndpoint
from events.webhooks.event import WEBHOOK_TYPES, WebhookType
from events.webhooks.public_address import AddressRule
from events.webhooks.url import url_refusal

_FIELDS: Final = frozenset({"event_types", "name", "url"})
_KEEP_OLD: Final = "keep_old_secret_active_for_24_hours"
_MAX_NAME: Final = 256


def parse_endpoint(body: bytes, rule: AddressRule) -> tuple[str, str, tuple[str, ...]]:
    """Name, URL and event types of an endpoint to be made. Raises `ApiError`."""
    fields = json_object(body)
    types, name, url = _types(fields), _name(fields), _url(fields, rule)
    refuse_unknown(fields, _FIELDS)
    return name, url, types


def parse_update(body: bytes, rule: AddressRule) -> UpdateWebhookEndpoint:
    """What is to change of an endpoint. Raises `ApiError`."""
    fields = json_object(body)
    update = UpdateWebhookEndpoint(
        event_types=_types(fields) if "event_types" in fields else None,
        name=_name(fields) if "name" in fields else None,
        url=_url(fields, rule) if "url" in fields else None,
    )
    refuse_unknown(fields, _FIELDS)
    return update


def parse_rotation(body: bytes) -> bool:
    """Whether the old secret is to sign, too, for a day. Raises `ApiError`."""
    fields = json_object(body or b"{}")
    keep_old = fields.get(_KEEP_OLD, False)
    if not isinstance(keep_old, bool):
        raise invalid_type(_KEEP_OLD, "a boolean", keep_old)
    refuse_unknown(fields, frozenset({_KEEP_OLD}))
    return keep_old


def parse_test(body: bytes) -> WebhookType:
    """The type of event to send a sample of. Raises `ApiError`."""
    fields = json_object(body)
    type_ = one_of(fields, "event_type", WEBHOOK_TYPES)
    refuse_unknown(fields, frozenset({"event_type"}))
    return cast(WebhookType, type_)


def _types(fields: Mapping[str, object]) -> tuple[str, ...]:
    value = required(fields, "event_types")
    if not isinstance(value, list):
        raise invalid_type("event_types", "an array", value)
    if not value:
        raise ApiError(
            400,
            "Invalid 'event_types': empty array. Expected an array with minimum length 1, but got an empty "
            "array instead.",
            param="event_types",
            code="empty_array",
        )
    for place, type_ in enumerate(value):
        if not isinstance(type_, str):
            raise invalid_type(f"event_types[{place}]", "a string", type_)
        if type_ not in WEBHOOK_TYPES:
            raise invalid_value(f"event_types[{place}]", type_, WEBHOOK_TYPES)
    return tuple(dict.fromkeys(value))


def _name(fields: Mapping[str, object]) -> str:
    name = text(fields, "name")
    if not name.strip():
        raise ApiError(
            400, "Invalid 'name': it must not be empty.", param="name", code="string_below_min_length"
        )
    if len(name) > _MAX_NAME:
        raise too_long("name", _MAX_NAME, len(name))
    return name


def _url(fields: Mapping[str, object], rule: AddressRule) -> str:
    url = text(fields, "url")
    refusal = url_refusal(url, rule)
    if refusal is not None:
        raise ApiError(400, f"Invalid 'url': it {refusal}.", param="url", code="invalid_value")
    return url
