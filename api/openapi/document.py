"""The whole description, put together from its entries."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast, get_type_hints

import msgspec

from api.openapi import refusals
from api.openapi.entry import JSON, Answer, Entry, Example, Parameter, Refused, Schema
from api.openapi.parts import PATHS, REQUEST_ID
from api.openapi.prose import HEADERS, INFO, SECURITY_SCHEMES, TAGS
from api.openapi.schemas import components
from api.scopes import scope_of
from events.key import Scope

_ENVELOPE: Final[Schema] = {
    "description": "What every error looks like. `param` names the parameter that is wrong.",
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"], "enum": [*refusals.CODES, None]},
            },
            "required": ["message", "type", "param", "code"],
            "additionalProperties": False,
        }
    },
    "required": ["error"],
    "additionalProperties": False,
}
_USUAL_HEADERS: Final = ("x-request-id", "openai-processing-ms", "openai-version")
_PROJECT_HEADERS: Final = (
    "openai-organization",
    *(name for name in HEADERS if name.startswith("x-ratelimit-")),
)
_HEADERS_OF: Final[Mapping[int, Sequence[str]]] = {409: ("x-should-retry",), 416: ("content-range",)}
"""Headers of errors that are an operation's own."""


class Operation(msgspec.Struct, frozen=True):
    """Where an entry stands in the description."""

    entry: Entry
    method: str
    path: str

    @property
    def id(self) -> str:
        """The name of its handler, as the description writes names."""
        first, *rest = self.entry.handler.fn.__name__.split("_")
        return first + "".join(word.title() for word in rest)

    @property
    def path_parameters(self) -> Sequence[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    @property
    def scope(self) -> Scope | None:
        """What a key needs; None: there need not be one."""
        return scope_of(self.entry.handler)


def operation_of(entry: Entry) -> Operation:
    """The method and the path are those of the handler; HEAD comes along with GET, and is not told apart."""
    (method,) = entry.handler.http_methods - {"HEAD"}
    (path,) = entry.handler.paths
    prefix = "" if scope_of(entry.handler) is None else "/v1"
    return Operation(entry, method.lower(), prefix + re.sub(r":\w+\}", "}", path))


def document(operations: Sequence[Operation], version: str) -> dict[str, object]:
    """The description of these operations, an OpenAPI document as JSON would decode it."""
    types = [type_ for op in operations for answer in _answers(op) for type_ in _structs(answer)]
    references, schemas = components(types)
    paths: dict[str, dict[str, object]] = {}
    for op in operations:
        paths.setdefault(op.path, {})[op.method] = _operation(op, references, operations)
    told = {
        "openapi": "3.1.0",
        "info": {**INFO, "version": version},
        "servers": [{"url": "/"}],
        "tags": TAGS,
        "paths": paths,
        "components": {
            "schemas": {**schemas, "ErrorEnvelope": _ENVELOPE},
            "responses": {common.name: _common_answer(common) for common in refusals.COMMON.values()},
            "parameters": {"ClientRequestId": _parameter(REQUEST_ID)},
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }
    return cast(dict[str, object], msgspec.json.decode(msgspec.json.encode(told)))


def _operation(op: Operation, references: Mapping[type, Schema], all_: Sequence[Operation]) -> Schema:
    entry = op.entry
    told: dict[str, object] = {
        "operationId": op.id,
        "tags": [entry.tag],
        "summary": entry.summary,
        **({"description": entry.says} if entry.says else {}),
        "security": [{"bearer": [op.scope]}, {"apiKey": [op.scope]}] if op.scope else [],
        "parameters": [
            *(_path_parameter(op, name) for name in op.path_parameters),
            *(_parameter(parameter, _query_examples(op, parameter)) for parameter in entry.parameters),
            {"$ref": "#/components/parameters/ClientRequestId"},
        ],
    }
    if entry.body is not None:
        told["requestBody"] = {
            **({"description": entry.body.says} if entry.body.says else {}),
            "required": entry.body.required,
            "content": {
                media: {"schema": schema, "examples": _sent(op, media)}
                for media, schema in entry.body.content.items()
            },
        }
    answers = {str(answer.status): _answer(op, answer, references, all_) for answer in _answers(op)}
    told["responses"] = {**answers, **_refusals(op)}
    return told


def _answers(op: Operation) -> Sequence[Answer]:
    if op.entry.answers:
        return op.entry.answers
    return (Answer(content={JSON: get_type_hints(op.entry.handler.fn)["return"]}),)


def _structs(answer: Answer) -> list[type]:
    return [schema for schema in answer.content.values() if not isinstance(schema, Mapping)]


def _answer(
    op: Operation, answer: Answer, references: Mapping[type, Schema], all_: Sequence[Operation]
) -> Schema:
    headers = [*_USUAL_HEADERS, *(_PROJECT_HEADERS if op.scope else ())]
    links = _links(op, all_) if answer.status == 200 else {}
    content = {
        media: {
            "schema": schema if isinstance(schema, Mapping) else references[schema],
            "examples": {
                name: {"summary": example.says, "value": example.answer}
                for name, example in op.entry.examples.items()
                if (example.status, example.media) == (answer.status, media)
            },
        }
        for media, schema in answer.content.items()
    }
    return {
        "description": answer.says,
        "headers": {
            **{name: _header(name) for name in headers},
            **{
                name: {"description": says, "required": True, "schema": schema}
                for name, (schema, says) in answer.headers.items()
            },
        },
        **({"content": content} if content else {}),
        **({"links": links} if links else {}),
    }


def _links(op: Operation, all_: Sequence[Operation]) -> Mapping[str, object]:
    """What can be done with the ids of an answer."""
    links: dict[str, object] = {}
    for given, pointer in op.entry.gives.items():
        for other in all_:
            takes = f"{{{given}}}"
            if takes in other.entry.takes.values():
                body = {
                    name: f"{{$response.body#{pointer}}}" if value == takes else value
                    for name, value in other.entry.takes.items()
                }
                links[other.id] = {"operationId": other.id, "requestBody": body}
            elif given in other.path_parameters and set(other.path_parameters) <= {
                given,
                *op.path_parameters,
            }:
                links[other.id] = {
                    "operationId": other.id,
                    "parameters": {
                        f"path.{name}": f"$response.body#{pointer}"
                        if name == given
                        else f"$request.path.{name}"
                        for name in other.path_parameters
                    },
                }
    return links


def _refusals(op: Operation) -> Mapping[str, object]:
    """The error answers of an operation, in the order of their statuses."""
    own = dict(op.entry.refuses)
    unknown = [PATHS[name] for name in op.path_parameters if PATHS[name].unknown is not None]
    common = {431, 500, 503} | ({401, 403, 429} if op.scope else set())
    if op.entry.body is not None:
        common |= {408, 413}
    own.setdefault(400, Refused(otherwise=refusals.HEAD))
    if unknown:
        otherwise = "Nothing that the project can see has this id."
        if 404 in own and own[404].otherwise is not None:
            otherwise += f" Or: {own[404].otherwise}"
        own[404] = msgspec.structs.replace(own.get(404, Refused()), otherwise=otherwise)
    told: dict[str, object] = {}
    for status in sorted(common | own.keys()):
        refused = own.get(status)
        if refused is None or not (refused.codes or refused.otherwise):
            told[str(status)] = {"$ref": f"#/components/responses/{refusals.COMMON[status].name}"}
            continue
        if status in refusals.COMMON:  # more is to be said of it here
            refused = refusals.COMMON[status].and_also(refused)
        examples: dict[str, object] = {}
        for parameter in unknown if status == 404 else ():
            assert parameter.unknown is not None
            assert parameter.stranger is not None
            body = msgspec.json.decode(parameter.unknown(parameter.stranger).body())
            examples["unknown"] = {"summary": "Nothing has this id.", "value": body}
        told[str(status)] = {
            "description": refusals.said(refused),
            "headers": {name: _header(name) for name in (*_USUAL_HEADERS, *_HEADERS_OF.get(status, ()))},
            "content": refusals.content(refused, examples),
        }
    return told


def _common_answer(common: refusals.Common) -> Schema:
    refused = Refused(codes=common.codes, otherwise=common.says if common.nullable else None)
    error = {"message": common.message, "type": common.type, "param": None, "code": common.code}
    return {
        "description": common.says,
        "headers": {name: _header(name) for name in (*_USUAL_HEADERS, *common.headers)},
        "content": refusals.content(refused, {"one": {"value": {"error": error}}}),
    }


def _header(name: str) -> Schema:
    return {"$ref": f"#/components/headers/{name}"}


def _path_parameter(op: Operation, name: str) -> Schema:
    known = PATHS[name]
    examples: dict[str, object] = {
        key: {"value": example.path.get(name, known.example)} for key, example in op.entry.examples.items()
    }
    if known.stranger is not None:
        examples["unknown"] = {"value": known.stranger}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": known.says,
        "schema": {"type": "string", "minLength": 1},
        "examples": examples,
    }


def _query_examples(op: Operation, parameter: Parameter) -> Mapping[str, object]:
    return {
        name: {"value": example.query[parameter.name]}
        for name, example in op.entry.examples.items()
        if parameter.name in example.query
    }


def _parameter(parameter: Parameter, examples: Mapping[str, object] | None = None) -> Schema:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.says,
        **({"required": True} if parameter.required else {}),
        "schema": parameter.schema,
        **({"examples": examples} if examples else {}),
    }


def _sent(op: Operation, media: str) -> Mapping[str, object]:
    assert op.entry.body is not None
    first = next(iter(op.entry.body.content))
    return {
        name: {"summary": example.says, "value": _told_body(example)}
        for name, example in op.entry.examples.items()
        if (example.sent_as or first) == media and example.body is not None
    }


def _told_body(example: Example) -> object:
    return example.body.decode() if isinstance(example.body, bytes) else example.body
