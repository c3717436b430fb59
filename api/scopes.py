"""What a key must be allowed for a route: said beside the route, asked before anything else of the request.

@post("/batches", opt=needs("write"))
"""

from collections.abc import Sequence
from typing import Final, cast

from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from api.errors import ApiError
from events.key import Scope

_OPTION: Final = "scope"


def needs(scope: Scope) -> dict[str, Scope]:
    """The `opt` of a route for keys that have this scope."""
    return {_OPTION: scope}


def scope_of(handler: BaseRouteHandler) -> Scope | None:
    """What a route needs; None where nobody has said it. The framework's own answer to OPTIONS tells no more
    than which methods there are."""
    if isinstance(handler, HTTPRouteHandler) and handler.http_methods == {"OPTIONS"}:
        return "read"
    return cast(Scope | None, handler.opt.get(_OPTION))


def require_scope(handler: BaseRouteHandler, held: Sequence[Scope]) -> None:
    """Raises the 403 of a key whose scopes are too few. A route that does not say what it needs needs all."""
    needed = scope_of(handler) or "admin"
    if needed not in held:
        raise ApiError(
            403,
            f"You have insufficient permissions for this operation. Missing scopes: {needed}. "
            f"The scopes of this key are: {', '.join(held) or 'none'}. "
            f"You can make another key with `batchmill keys create --scopes {needed}`.",
            code="missing_scope",
        )
