"""The JSON Schema of every event type's data, for who reads events without this program."""

from collections.abc import Mapping

import msgspec

from events.buses.cloud_event import SCHEMA
from events.catalog import TYPES, Event

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schemas(types: Mapping[str, type[Event]] = TYPES) -> dict[str, str]:
    """The text of each schema, by the type's name in the log. Fields that a schema does not know are
    allowed: a type may get more."""
    return {name: _schema(name, type_) for name, type_ in types.items()}


def _schema(name: str, type_: type[Event]) -> str:
    (reference,), parts = msgspec.json.schema_components([type_], ref_template="#/$defs/{name}")
    key = str(reference["$ref"]).rpartition("/")[2]
    schema = {"$schema": DRAFT, "$id": SCHEMA + name, **parts.pop(key)}
    if parts:
        schema["$defs"] = parts
    return msgspec.json.format(msgspec.json.encode(schema)).decode() + "\n"
