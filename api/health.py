"""`/livez` and `/readyz`: for orchestrators, without a key."""

from typing import cast

from litestar import Request, route
from litestar.datastructures import State

from api.request import READ
from api.services import ApiServices


@route("/livez", http_method=READ, status_code=200)
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@route("/readyz", http_method=READ, status_code=200)
async def ready(request: Request[None, None, State]) -> dict[str, str]:
    """The database can be written: the answer is 503 otherwise.

    A write of nothing: a database that turned read-only (a demoted primary) goes on answering reads.
    """
    services = cast(ApiServices, request.app.state.services)
    await services.journal.models.advance([])
    return {"status": "ok"}
