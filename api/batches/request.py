"""What a client may ask for when it creates a batch: the checks of the body, in the order of its fields."""

from collections.abc import Mapping
from typing import Final

import msgspec

from api.batches.windows import offered, window_seconds
from api.errors import ApiError, invalid_type, invalid_value, too_long
from api.expiry import expiry_of_body
from api.idempotency import FIELD as KEY_FIELD
from api.json_body import json_object, one_of, optional_object, refuse_unknown, text
from events.inputs.validator import supported_endpoints
from events.outcomes.cause import CAUSE_DIGITS, is_cause_id

_FIELDS: Final = frozenset(
    {"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after", KEY_FIELD}
)
_RETRY_FIELDS: Final = frozenset({"group", "completion_window", "metadata", KEY_FIELD})
_MAX_FILE_ID: Final = 512
_MAX_PAIRS: Final = 16
_MAX_KEY: Final = 64
_MAX_VALUE: Final = 512
_SHOWN: Final = 64


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A body that passed every check which needs no look at the input file. Times are seconds."""

    input_file_id: str
    endpoint: str
    completion_window: str
    window_seconds: int
    metadata: dict[str, str] | None
    output_expires_after: int | None
    idempotency_key: str | None


def parse_batch_request(body: bytes, windows: tuple[str, ...]) -> BatchRequest:
    """The request in a body; `windows` are the completion windows that are offered, see
    `api/batches/windows.py`. Raises `ApiError`."""
    fields = json_object(body)
    file_id = text(fields, "input_file_id")
    if len(file_id) > _MAX_FILE_ID:
        raise too_long("input_file_id", _MAX_FILE_ID, len(file_id))
    endpoint = one_of(fields, "endpoint", supported_endpoints())
    window, seconds = _window(fields, windows)
    request = BatchRequest(
        input_file_id=file_id,
        endpoint=endpoint,
        completion_window=window,
        window_seconds=seconds,
        metadata=optional_object(fields, "metadata", _metadata),
        output_expires_after=expiry_of_body(fields, "output_expires_after"),
        idempotency_key=None if fields.get(KEY_FIELD) is None else text(fields, KEY_FIELD),
    )
    refuse_unknown(fields, _FIELDS)
    return request


class RetryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What may be asked of a retry; None: as the batch before. `group` is the id of a cause of failures,
    `window` a completion window and its seconds."""

    group: str | None
    window: tuple[str, int] | None
    metadata: dict[str, str] | None
    idempotency_key: str | None


def parse_retry_request(body: bytes, windows: tuple[str, ...]) -> RetryRequest:
    """The request in a body, which may be empty. Raises `ApiError`."""
    fields = json_object(body or b"{}")
    request = RetryRequest(
        group=None if fields.get("group") is None else _group(fields),
        window=None if fields.get("completion_window") is None else _window(fields, windows),
        metadata=optional_object(fields, "metadata", _metadata),
        idempotency_key=None if fields.get(KEY_FIELD) is None else text(fields, KEY_FIELD),
    )
    refuse_unknown(fields, _RETRY_FIELDS)
    return request


def _group(fields: Mapping[str, object]) -> str:
    group = text(fields, "group")
    if not is_cause_id(group):
        raise ApiError(
            400,
            f"Invalid 'group': expected the id of one of the batch's errors, 'cause_' and "
            f"{CAUSE_DIGITS} hex digits, but got '{group[:_SHOWN]}' instead.",
            param="group",
            code="invalid_value",
        )
    return group


def _window(fields: Mapping[str, object], windows: tuple[str, ...]) -> tuple[str, int]:
    window = text(fields, "completion_window")
    seconds = window_seconds(window)
    if seconds is None or not offered(window, windows):
        raise invalid_value("completion_window", window, windows)
    return window, seconds


def _metadata(pairs: Mapping[str, object]) -> dict[str, str]:
    if len(pairs) > _MAX_PAIRS:
        raise ApiError(
            400,
            f"Invalid 'metadata': too many properties. Expected an object with at most {_MAX_PAIRS} "
            f"properties, but got an object with {len(pairs)} properties instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    return {key: _pair(key, value) for key, value in pairs.items()}


def _pair(key: str, value: object) -> str:
    param = f"metadata.{key[:_MAX_KEY]}"
    if len(key) > _MAX_KEY:
        raise ApiError(
            400,
            f"Invalid '{param}': property name too long. Expected a property name with maximum length "
            f"{_MAX_KEY}, but got a property name with length {len(key)} instead.",
            param=param,
            code="property_name_above_max_length",
        )
    if not isinstance(value, str):
        raise invalid_type(param, "a string", value)
    if len(value) > _MAX_VALUE:
        raise too_long(param, _MAX_VALUE, len(value))
    return value
