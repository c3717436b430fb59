"""`/v1/batches/{batch_id}/errors`: why lines of a batch failed, those that failed alike together."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from litestar import route
from litestar.params import FromPath

from api.errors import no_such_batch
from api.ids import looking_for
from api.reads import record_read
from api.request import READ, ApiRequest, services_of
from api.scopes import needs
from api.wire import ListObject, list_object
from events.batch import Batch
from events.outcomes.failures import Group, failures_of
from events.reads import ContentRead

PATIENCE: Final = 60.0
"""Seconds that reading the failures of a batch may take, waiting for its turn included."""
_LATE: Final = "The failures could not be read in time."


class CauseObject(msgspec.Struct, frozen=True, kw_only=True):
    """`batch.error`: `count` lines that failed for the same cause, with the first few of them: their
    `custom_ids`, or `lines` of an input that was refused, from 1."""

    id: str
    object: Literal["batch.error"] = "batch.error"
    status_code: int | None
    code: str | None
    message: str | None
    count: int
    custom_ids: Sequence[msgspec.Raw]
    lines: Sequence[int]


@route("/batches/{batch_id:str}/errors", http_method=READ, status_code=200, opt=needs("read"))
async def list_errors(request: ApiRequest, batch_id: FromPath[str]) -> ListObject[CauseObject]:
    """`GET /v1/batches/{batch_id}/errors`, the largest group first"""
    services = services_of(request)
    with looking_for(batch_id, no_such_batch(batch_id)):
        seen = await services.journal.models.get(Batch, batch_id, request.auth.project_id)
    async with services.failure_reads.one(seen.project_id, PATIENCE, _LATE):
        groups = await failures_of(services.journal.log, services.store, seen)
    await record_read(request, ContentRead(batch_id, "errors", 0, len(groups)))
    return list_object([_shown(group) for group in groups], has_more=False)


def _shown(group: Group) -> CauseObject:
    return CauseObject(
        id=group.cause.id,
        status_code=group.cause.status,
        code=group.cause.code,
        message=group.cause.message,
        count=group.count,
        custom_ids=[msgspec.Raw(token) for token in group.custom_ids],
        lines=group.lines,
    )
