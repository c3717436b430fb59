"""`GET /openapi.json`: the description of this server. Nobody needs a key to read it."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

import msgspec
from litestar import MediaType, Request, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from api.openapi import audit, batches, files, server, webhooks
from api.openapi.document import Operation, document, operation_of
from api.openapi.entry import JSON, Answer, Entry, Example
from api.request import READ
from api.services import ApiOptions, ApiServices

_OBJECT: Final = {"type": "object"}


@route("/openapi.json", http_method=READ, status_code=200)
async def describe_api(request: Request[None, None, State]) -> ASGIResponse:
    """The description, with the limits that this server has."""
    state = request.app.state
    if "description" not in state:
        services: ApiServices = state.services
        state.description = description(services.options).encode()
    return ASGIResponse(body=state.description, media_type=MediaType.JSON)


def description(options: ApiOptions) -> str:
    """The description of a server with these options, as indented JSON."""
    told = document(operations(options), version("batchmill"))
    return msgspec.json.format(msgspec.json.encode(told)).decode() + "\n"


def operations(options: ApiOptions) -> Sequence[Operation]:
    """Every operation that there is."""
    entries = (
        *batches.entries(options),
        *files.entries(options),
        *webhooks.entries(),
        *audit.entries(),
        *server.entries(),
        Entry(
            handler=describe_api,
            tag="Server",
            summary="This description",
            answers=(Answer(says="An OpenAPI 3.1 document.", content={JSON: _OBJECT}),),
            examples={"here": Example(says="What you read.", answer={"openapi": "3.1.0"})},
        ),
    )
    return [operation_of(entry) for entry in entries]
