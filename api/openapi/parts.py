"""What entries have in common: parameters, paths, and pieces of schemas."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from api.batches.windows import window_seconds
from api.errors import ApiError, no_such_batch, no_such_file, no_such_upload
from api.openapi import samples
from api.openapi.entry import Parameter, Schema
from api.services import ApiOptions
from api.webhooks.endpoints import no_such_endpoint

TEXT: Final[Schema] = {"type": "string"}
KEY_TEXT: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 255}
OR_NULL: Final = {"type": "null"}


class PathParameter(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a path. Where nothing has the id, `unknown` is what is answered."""

    says: str
    example: str
    stranger: str | None = None
    unknown: Callable[[str], ApiError] | None = None


PATHS: Final[Mapping[str, PathParameter]] = {
    "batch_id": PathParameter(
        says="The id of a batch.", example=samples.BATCH, stranger="batch_unknown", unknown=no_such_batch
    ),
    "file_id": PathParameter(
        says="The id of a file.", example=samples.FILE, stranger="file-unknown", unknown=no_such_file
    ),
    "upload_id": PathParameter(
        says="The id of an upload.", example=samples.UPLOAD, stranger="upload_unknown", unknown=no_such_upload
    ),
    "endpoint_id": PathParameter(
        says="The id of a webhook endpoint.",
        example=samples.HOOK,
        stranger="we_unknown",
        unknown=no_such_endpoint,
    ),
    "delivery_id": PathParameter(says="The id of a delivery.", example=samples.DELIVERY),
    "custom_id": PathParameter(
        says="The custom_id of a line: everything after `lines/`. What a path cannot hold is written `%2F`.",
        example=samples.CUSTOM_ID,
    ),
    "model": PathParameter(says="The id of a model, which may hold slashes.", example=samples.MODEL),
}

REQUEST_ID: Final = Parameter(
    name="X-Client-Request-Id",
    place="header",
    schema={"type": "string", "maxLength": 512, "pattern": "^[\\t -~]*$"},
    says="An id of the client's own. It is checked and otherwise ignored.",
)
IDEMPOTENCY_KEY: Final = Parameter(
    name="Idempotency-Key",
    place="header",
    schema=KEY_TEXT,
    says="Sent again with the same request, it makes nothing twice: the answer is what was made before.",
)


def page(most: int, usual: int) -> tuple[Parameter, ...]:
    """The query of a list."""
    return (
        Parameter(
            name="after",
            schema=TEXT,
            says="The id of the last object that you have: the page begins after it.",
        ),
        Parameter(
            name="limit",
            schema={"type": "integer", "minimum": 1, "maximum": most, "default": usual},
            says="At most so many objects.",
        ),
    )


def number(name: str, says: str, least: int = 0, *, required: bool = False) -> Parameter:
    """A whole number of the query."""
    return Parameter(name=name, schema={"type": "integer", "minimum": least}, says=says, required=required)


def one_of(*values: str) -> Schema:
    """One text out of a few."""
    return {"type": "string", "enum": list(values)}


def or_null(schema: Schema) -> Schema:
    """The same, or null, which is as if it were absent."""
    return {"anyOf": [schema, OR_NULL]}


def fields(required: Mapping[str, Schema], optional: Mapping[str, Schema]) -> Schema:
    """A JSON object in which nothing else is known: another field is refused as `unknown_parameter`."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        **({"required": list(required)} if required else {}),
        "additionalProperties": False,
    }


def expiry(says: str) -> Schema:
    """When a file is to go."""
    return or_null(
        {
            **fields(
                {
                    "anchor": one_of("created_at"),
                    "seconds": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
                },
                {},
            ),
            "description": says,
        }
    )


METADATA: Final = or_null(
    {
        "type": "object",
        "description": "Pairs of your own.",
        "maxProperties": 16,
        "propertyNames": {"maxLength": 64},
        "additionalProperties": {"type": "string", "maxLength": 512},
    }
)


def completion_window(options: ApiOptions) -> Schema:
    """What this server offers."""
    said = "In which time the batch is to be done; lines that are not are given up."
    if all(window_seconds(offer) is not None for offer in options.completion_windows):
        return {**one_of(*options.completion_windows), "description": said}
    offers = ", ".join(f"`{offer}`" for offer in options.completion_windows)
    return {
        "type": "string",
        "pattern": "^[1-9][0-9]{0,6}[smhd]$",
        "description": f"{said} This server offers {offers}.",
    }
