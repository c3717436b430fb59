"""`/livez` and `/readyz`: for orchestrators, without a key."""

from typing import cast

from litestar import Request, get
from litestar.datastructures import State

from api.services import ApiServices


@get("/livez")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@get("/readyz")
async def ready(request: Request[None, None, State]) -> dict[str, str]:
    """The database can be written: the answer is 503 otherwise.

    A write of nothing: a database that turned read-only (a demoted primary) goes on answering reads.
    """
    services = cast(ApiServices, request.app.state.services)
    await services.journal.models.advance([])
    return {"status": "ok"}
