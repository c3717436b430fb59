"""`/livez` and `/readyz`: for orchestrators, without a key."""

from typing import cast

import msgspec
from litestar import Litestar, Request, route
from litestar.datastructures import State

from api.errors import answer_error
from api.request import READ
from events.journal import Journal


class Checked(msgspec.Struct, frozen=True):
    """What is looked at; the services of the whole API have it as well."""

    journal: Journal


@route("/livez", http_method=READ, status_code=200)
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@route("/readyz", http_method=READ, status_code=200)
async def ready(request: Request[None, None, State]) -> dict[str, str]:
    """The database can be written: the answer is 503 otherwise.

    A write of nothing: a database that turned read-only (a demoted primary) goes on answering reads.
    """
    checked = cast(Checked, request.app.state.services)
    await checked.journal.models.advance([])
    return {"status": "ok"}


def create_health_app(journal: Journal) -> Litestar:
    """The health checks alone, for a process that has no API."""
    return Litestar(
        [live, ready],
        exception_handlers={Exception: answer_error},
        logging_config=None,
        openapi_config=None,
        state=State({"services": Checked(journal)}),
    )
