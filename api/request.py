"""A request whose key was checked, and what its handlers ask of it."""

from typing import Final, cast

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.types import Method

from api.services import ApiServices
from api.source_address import kept_address, source_address
from api.trace_context import trace_parent
from events.origin import Origin


class Identity(msgspec.Struct, frozen=True):
    """The key of a request, and the project it belongs to."""

    key_id: str
    project_id: str


ApiRequest = Request[None, Identity, State]

READ: Final[list[HttpMethod | Method]] = ["GET", "HEAD"]
"""The methods of whatever can be read; to HEAD the server sends no body."""


def services_of(request: ApiRequest) -> ApiServices:
    """The services that the application was made with."""
    return cast(ApiServices, request.app.state.services)


def origin(request: ApiRequest) -> str:
    """The metadata of an event that a request causes: whose key, which request, from where, within what."""
    headers, options, client = request.headers, services_of(request).options, request.scope["client"]
    kept = options.record_source_address
    source = (
        source_address(client[0], headers.getall("x-forwarded-for", []), options.trusted_proxies)
        if client is not None and kept != "off"
        else None
    )
    return Origin(
        request.auth.key_id,
        request=request.scope["state"]["request_id"],
        client_request=headers.get("x-client-request-id") or None,
        address=kept_address(source, kept),
        traceparent=trace_parent(headers.getall("traceparent", [])),
    ).metadata()
