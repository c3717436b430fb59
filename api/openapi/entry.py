"""What the description says of one operation, beyond what its handler says itself: method, path, scope, and
the struct that it answers with."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec
from litestar.handlers import HTTPRouteHandler

Schema: TypeAlias = Mapping[str, object]
"""A JSON Schema, draft 2020-12."""

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
FORM: Final = "multipart/form-data"


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """Of the query, or a header."""

    name: str
    place: Literal["query", "header"] = "query"
    schema: Schema
    says: str
    required: bool = False


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """A request's body: its schema by media type."""

    content: Mapping[str, Schema]
    required: bool = True
    says: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is no error: the struct or the schema of its body, by media type, and headers that every
    such answer has, beside those that all answers have."""

    status: int = 200
    says: str = "What was asked for."
    content: Mapping[str, type | Schema] = {}
    headers: Mapping[str, tuple[Schema, str]] = {}


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Why an operation answers with an error status: codes that say why, and in words what is said without
    one (None: always with a code)."""

    codes: Sequence[str] = ()
    otherwise: str | None = None


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A request, and what is answered to it. Path parameters have their usual examples unless `path` has
    another. A body of bytes is sent as it is, other bodies as JSON or, by field, as a form: the first
    media type of the operation, unless `sent_as` names another. `media` is what is accepted."""

    says: str
    path: Mapping[str, str] = {}
    query: Mapping[str, str | int] = {}
    body: object = None
    sent_as: str | None = None
    status: int = 200
    media: str = JSON
    answer: object = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One operation.

    `answers` are needed where the handler does not return a struct. `refuses` names errors that are this
    operation's own, by status. `gives` says where an answer holds an id that other operations take, by the
    name of their path parameter, as a JSON pointer; `takes` is a body with which this operation takes one.
    """

    handler: HTTPRouteHandler
    tag: str
    summary: str
    says: str = ""
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    answers: Sequence[Answer] = ()
    refuses: Mapping[int, Refused] = {}
    gives: Mapping[str, str] = {}
    takes: Mapping[str, object] = {}
    examples: Mapping[str, Example]
