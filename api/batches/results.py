"""`/v1/batches/{batch_id}/results`: what is recorded of a batch so far, while it runs and after.

The header names and what they mean are those of a dialect that some clients of other servers speak:
`X-Last-Line` is the offset to ask with next, and `X-Incomplete` says whether there is anything to ask for.
"""

from typing import Final

from litestar import route
from litestar.params import FromPath
from litestar.types import ASGIApp

from api.errors import ApiError, no_such_batch
from api.ids import looking_for
from api.paging import number_of
from api.reads import recorded_first
from api.request import READ, ApiRequest, services_of
from api.scopes import needs
from api.stream import Stream, begun
from events.batch import Batch
from events.outcomes.flush_body import ResultsErased
from events.outcomes.recorded_results import recorded_results
from events.reads import ContentRead

_NDJSON: Final = "application/x-ndjson"


@route("/batches/{batch_id:str}/results", http_method=READ, status_code=200, opt=needs("read"))
async def stream_results(request: ApiRequest, batch_id: FromPath[str]) -> ASGIApp:
    """`GET /v1/batches/{batch_id}/results`: result lines after the first `offset`, in the order in which they
    were recorded, at most `limit`."""
    services, query = services_of(request), request.query_params
    offset = number_of(query, "offset") or number_of(query, "skip") or 0
    limit = number_of(query, "limit", least=1)
    with looking_for(batch_id, no_such_batch(batch_id)):
        seen = await services.journal.models.get(Batch, batch_id, request.auth.project_id)
    batch = seen.state
    recorded = batch.completed + batch.failed
    there = max(0, recorded - offset)
    take = there if limit is None else min(limit, there)
    growing = batch.finalizing is None and not batch.ended
    headers = {
        "content-type": _NDJSON,
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-incomplete": "true" if growing or take < there else "false",
        "x-last-line": str(offset + take),
    }
    if request.method == "HEAD" or not take:
        return Stream(200, headers, None)
    try:
        pieces = await begun(recorded_results(services.journal.log, batch_id, skip=offset, take=take))
    except ResultsErased as error:
        raise ApiError(
            404, f"The results of batch '{batch_id}' are gone: they were erased with its output file."
        ) from error
    read = ContentRead(batch_id, "results", offset, offset + take)
    return Stream(200, headers, await recorded_first(request, read, pieces))
