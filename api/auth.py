"""Who asks, for what, and how often: an API key opens the objects of its project, and nothing else.

Every request looks its key up, so one that was revoked or has expired opens nothing from that moment on.
"""

import hmac
from datetime import UTC, datetime
from typing import Final, cast

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from api.errors import ApiError
from api.rates import rate_headers, too_often
from api.request import Identity
from api.scopes import require_scope
from api.services import ApiServices
from api.token_room import token_limit
from events.errors import KeyExpired
from events.key import secret_digest

_NO_KEY: Final = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using "
    "Bearer auth (i.e. Authorization: Bearer YOUR_KEY). You can make a key with `batchmill keys create`."
)
_CHALLENGE: Final = {"www-authenticate": "Bearer"}


async def require_key(
    connection: ASGIConnection[BaseRouteHandler, None, Identity, State], handler: BaseRouteHandler
) -> None:
    """A guard: sets `auth` of the request. Raises the 401 of the contract, its 429, and its 403."""
    secret = _secret(connection.headers.get("authorization"), connection.headers.get("api-key"))
    if not secret:
        raise ApiError(401, _NO_KEY, headers=_CHALLENGE)
    services = cast(ApiServices, connection.app.state.services)
    digest = secret_digest(secret)
    try:
        seen = await services.journal.models.key_of(digest)
    except KeyExpired as error:
        raise _expired(secret, error.at) from error
    if seen is None or not hmac.compare_digest(seen.state.created.sha256, digest):
        message = (
            f"Incorrect API key provided: {masked(secret)}. You can make a key with `batchmill keys create`."
        )
        raise ApiError(401, message, code="invalid_api_key", headers=_CHALLENGE)
    connection.scope["auth"] = Identity(seen.id, seen.project_id)
    state = connection.scope["state"]
    state["project_id"] = seen.project_id
    limit = services.options.request_limit(seen.project_id)
    if limit.most:
        standing = services.rates.take(limit, seen.project_id)
        state["rate_headers"] = rate_headers(limit, standing)
        if standing.wait:
            raise too_often(limit, standing, seen.project_id)
    require_scope(handler, seen.state.scopes)
    limits = services.options.limits.of(seen.project_id)
    if limits.queued_tokens:
        room = await services.token_room.standing(services.board, limits, seen.project_id)
        state["rate_headers"] = state.get("rate_headers", []) + rate_headers(token_limit(limits), room)


def masked(secret: str) -> str:
    """What an error may show of a key: enough to recognize one's own, too little to use."""
    if len(secret) < 12 or not (secret.isascii() and secret.isprintable()):
        return "***"
    return f"{secret[:5]}***{secret[-2:]}"


def _expired(secret: str, at: int) -> ApiError:
    """Said only to who has the whole key, since it is found by its digest."""
    when = datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
    message = (
        f"The API key provided has expired: {masked(secret)}, on {when}. "
        "You can make another with `batchmill keys create`."
    )
    return ApiError(401, message, code="invalid_api_key", headers=_CHALLENGE)


def _secret(authorization: str | None, api_key: str | None) -> str | None:
    """The key of a Bearer header, or of the header that the Azure SDK sends."""
    if authorization is None:
        return api_key
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None
