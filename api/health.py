"""`/livez` and `/readyz`: for orchestrators, without a key."""

import asyncio
from typing import Final, cast

import msgspec
from litestar import Litestar, Request, route
from litestar.datastructures import State

from api.errors import answer_error
from api.request import READ
from events.audit.records import AuditRecords
from events.errors import LogBusy
from events.journal import Journal

WITHIN: Final = 3.0
"""Seconds that a check waits for the database: whoever asks waits hardly longer."""


class Sealing(msgspec.Struct, frozen=True):
    """What knows how far the log is sealed."""

    records: AuditRecords


class Checked(msgspec.Struct, frozen=True):
    """What is looked at; the services of the whole API have it as well."""

    journal: Journal
    audit: Sealing


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a ready process says. `unsealed_seconds` is for how long the oldest event has waited to be sealed;
    it is not there where nothing was ever sealed."""

    status: str
    unsealed_seconds: int | None = None


@route("/livez", http_method=READ, status_code=200)
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@route("/readyz", http_method=READ, status_code=200)
async def ready(request: Request[None, None, State]) -> Ready:
    """The database can be written: the answer is 503 otherwise.

    A write of nothing: a database that turned read-only (a demoted primary) goes on answering reads. That the
    log is not sealed takes nobody out of service, but is to be seen from outside.
    """
    checked = cast(Checked, request.app.state.services)
    try:
        async with asyncio.timeout(WITHIN):
            await checked.journal.models.advance([])
            unsealed = await checked.audit.records.unsealed()
    except TimeoutError as error:
        raise LogBusy(f"the database did not answer within {WITHIN:g} s") from error
    return Ready("ok", None if unsealed is None else int(unsealed))


def create_health_app(journal: Journal, audit: AuditRecords) -> Litestar:
    """The health checks alone, for a process that has no API."""
    return Litestar(
        [live, ready],
        exception_handlers={Exception: answer_error},
        logging_config=None,
        openapi_config=None,
        state=State({"services": Checked(journal, Sealing(audit))}),
    )
