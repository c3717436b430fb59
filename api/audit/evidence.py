"""`/v1/batches/{batch_id}/evidence`: what proves offline what happened to every line of a batch."""

from typing import Final

from litestar import route
from litestar.params import FromPath
from litestar.types import ASGIApp

from api.errors import NO_RETRY, SOON, ApiError, invalid_value, no_such_batch
from api.ids import looking_for
from api.reads import recorded_first
from api.request import READ, ApiRequest, services_of
from api.scopes import needs
from api.stream import Stream, begun
from events.audit.bundle.export import NotSealedYet, StillRuns
from events.batch import Batch
from events.reads import ContentRead

_YES_OR_NO: Final = ("false", "true")


@route("/batches/{batch_id:str}/evidence", http_method=READ, status_code=200, opt=needs("read"))
async def export_evidence(request: ApiRequest, batch_id: FromPath[str]) -> ASGIApp:
    """`GET /v1/batches/{batch_id}/evidence`: the bundle, with the results themselves if `bodies` is true."""
    services = services_of(request)
    bodies = request.query_params.get("bodies", "false")
    if bodies not in _YES_OR_NO:
        raise invalid_value("bodies", bodies, _YES_OR_NO)
    with looking_for(batch_id, no_such_batch(batch_id)):
        seen = await services.journal.models.get(Batch, batch_id, request.auth.project_id)
    try:
        sealed = await services.audit.bundles.sealed(batch_id)
    except StillRuns as error:
        raise ApiError(409, f"Batch '{batch_id}' has not ended yet.", headers=NO_RETRY) from error
    except NotSealedYet as error:
        raise ApiError(
            409, f"The end of batch '{batch_id}' is not sealed yet: ask again in a few seconds.", headers=SOON
        ) from error
    headers = {
        "content-type": "application/octet-stream",
        "content-disposition": f'attachment; filename="{batch_id}.evidence"',
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    if request.method == "HEAD":
        return Stream(200, headers, None)
    if bodies != "true":
        return Stream(200, headers, await begun(services.audit.bundles.pieces(sealed, "digests")))
    read = ContentRead(batch_id, "results", 0, seen.state.completed + seen.state.failed)
    pieces = await begun(services.audit.bundles.pieces(sealed, "bodies"))
    return Stream(200, headers, await recorded_first(request, read, pieces))
