"""The JSON Schemas of what the API answers, from the structs themselves."""

import re
from collections.abc import Iterable, Mapping
from inspect import cleandoc
from typing import Final, cast

import msgspec

from api.openapi.entry import Schema

_PLACE: Final = "#/components/schemas/"
_TOLD_MORE: Final[Mapping[str, Mapping[str, Schema]]] = {
    "BatchEvent": {"data": {"type": "object"}},
    "Cause": {"custom_ids": {"type": "array", "items": {"type": "string"}}},
}
"""Fields that go over the wire as they are kept, so that their types say less than is known."""


def components(types: Iterable[type]) -> tuple[dict[type, Schema], dict[str, Schema]]:
    """A reference for each of the types, and the schemas they lead to, by name.

    Every key of an answer is always there. More may come with a later version: clients ignore what they do
    not know, so nothing is said about other keys.
    """
    listed = list(dict.fromkeys(types))
    references, found = msgspec.json.schema_components(listed, ref_template=_PLACE + "{name}")
    schemas = {name_of(name): _as_answered(schema) for name, schema in found.items()}
    assert len(schemas) == len(found), "two structs have the same name in the description"
    for name, fields in _TOLD_MORE.items():
        if name in schemas:
            properties = cast(dict[str, Schema], schemas[name]["properties"])
            schemas[name] = {**schemas[name], "properties": {**properties, **fields}}
    return {
        type_: cast(Schema, _rewritten(reference))
        for type_, reference in zip(listed, references, strict=True)
    }, schemas


def name_of(struct: str) -> str:
    """What a struct is called in the description: `Batch`, and `BatchList` for a page of them."""
    page = re.fullmatch(r"ListObject_(\w+)_", struct)
    return name_of(page[1]) + "List" if page else struct.lstrip("_").removesuffix("Object")


def _as_answered(schema: Mapping[str, object]) -> Schema:
    """A struct's schema with every key required, for none is ever left out."""
    answered = cast(dict[str, object], _rewritten(schema))
    answered.pop("title", None)
    if "description" in answered:
        answered["description"] = cleandoc(str(answered["description"]))
    if "properties" in answered:
        answered["required"] = list(cast(Mapping[str, object], answered["properties"]))
    return answered


def _rewritten(node: object) -> object:
    """The same with the names of the description, and `null` said shortly."""
    if isinstance(node, list):
        return [_rewritten(item) for item in node]
    if not isinstance(node, dict):
        return node
    told = {key: _rewritten(value) for key, value in node.items() if key != "default"}
    if "$ref" in told:
        told["$ref"] = _PLACE + name_of(str(told["$ref"]).removeprefix(_PLACE))
    match told:
        case {"anyOf": [{"type": str() as kind, **rest}, {"type": "null"}]}:
            return {"type": [kind, "null"], **rest}
        case {"enum": [only]}:
            return {"const": only}
    return told
