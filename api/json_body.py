"""The JSON body of a request, field by field: each reading raises `ApiError` in the contract's words."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from api.errors import ApiError, invalid_type, invalid_value, missing_parameter, unknown_parameter

T = TypeVar("T")


def json_object(body: bytes) -> dict[str, object]:
    """The fields of a body that must be a JSON object."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _unparseable() from error
    if not isinstance(value, dict):
        raise _unparseable()
    return value


def text(fields: Mapping[str, object], name: str) -> str:
    """A required string."""
    value = required(fields, name)
    if not isinstance(value, str):
        raise invalid_type(name, "a string", value)
    return value


def one_of(fields: Mapping[str, object], name: str, supported: tuple[str, ...]) -> str:
    """A required string out of a few."""
    value = text(fields, name)
    if value not in supported:
        raise invalid_value(name, value, supported)
    return value


def integer(fields: Mapping[str, object], name: str) -> int:
    """A required whole number."""
    value = required(fields, name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid_type(name, "an integer", value)
    return value


def required(fields: Mapping[str, object], name: str) -> object:
    """A field of any type that must be there."""
    if name not in fields:
        raise missing_parameter(name)
    return fields[name]


def optional_object(
    fields: Mapping[str, object], name: str, parse: Callable[[dict[str, object]], T]
) -> T | None:
    """What `parse` makes of an object; None where the field is absent or null."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid_type(name, "an object", value)
    return parse(value)


def refuse_unknown(fields: Mapping[str, object], known: frozenset[str], within: str = "") -> None:
    """Raises for a field that is not one of `known`; `within` is what its name begins with."""
    for field in fields:
        if field not in known:
            raise unknown_parameter(f"{within}{field[:64]}")


def _unparseable() -> ApiError:
    return ApiError(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your "
        "HTTP library correctly. The API expects a JSON object, but what was sent was none.)",
    )
