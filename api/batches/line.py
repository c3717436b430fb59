"""`/v1/batches/{batch_id}/lines/{custom_id}`: all that is known of one line.

Nothing is indexed by custom_id: the input is read from its start until the line is found.
"""

from typing import Final, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import route
from litestar.params import FromPath

from api.errors import ApiError, no_such_batch
from api.ids import looking_for
from api.reads import record_read
from api.request import READ, ApiRequest, services_of
from api.scopes import needs
from api.services import ApiServices
from api.wire import UsageObject, usage_object
from events.batch import Batch
from events.inputs.line_search import FoundLine
from events.outcomes.line_history import LineRecord, find_line, record_of
from events.outcomes.lines import ERROR_CODES, is_success
from events.read_models import Seen
from events.reads import ContentRead
from storage.store import ObjectMissing

LineStatus = Literal["waiting", "completed", "failed", "cancelled", "expired", "refused"]
SEARCH_BYTES: Final = 2 << 30
"""Of a larger input no line is searched for: it would take too long for a request."""
PATIENCE: Final = 60.0
"""Seconds that a search may take, waiting for its turn included."""
_LATE: Final = "The input could not be searched in time."
_SHOWN: Final = 128


class InputObject(msgspec.Struct, frozen=True):
    """Where in the input file a line stands: its number from 1, blank lines counted, and its bytes."""

    file_id: str
    line: int
    start: int
    bytes: int


class OutcomeObject(msgspec.Struct, frozen=True, kw_only=True):
    """How a line went: the last of its `attempts` began at `started_at` and took `seconds`. `event` is the
    `id` of the batch's event that holds it."""

    status_code: int | None
    code: str | None
    attempts: int
    started_at: float
    seconds: float
    worker: str
    usage: UsageObject
    recorded_at: int
    event: str


class LineObject(msgspec.Struct, frozen=True, kw_only=True):
    """`batch.line`"""

    object: Literal["batch.line"] = "batch.line"
    batch_id: str
    custom_id: str
    status: LineStatus
    input: InputObject
    outcome: OutcomeObject | None


@route("/batches/{batch_id:str}/lines/{custom_id:path}", http_method=READ, status_code=200, opt=needs("read"))
async def retrieve_line(request: ApiRequest, batch_id: FromPath[str]) -> LineObject:
    """`GET /v1/batches/{batch_id}/lines/{custom_id}`"""
    services = services_of(request)
    with looking_for(batch_id, no_such_batch(batch_id)):
        seen = await services.journal.models.get(Batch, batch_id, request.auth.project_id)
    custom_id = _custom_id(request)
    found = None if custom_id is None else await _found(services, seen, custom_id)
    if custom_id is None or found is None:
        shown = "" if custom_id is None else f" '{custom_id[:_SHOWN]}'"
        raise ApiError(404, f"No line with the custom_id{shown} in batch '{batch_id}'.", param="custom_id")
    place, record = found
    await record_read(request, ContentRead(batch_id, "line", place.line, place.line + 1))
    return LineObject(
        batch_id=batch_id,
        custom_id=custom_id,
        status=_status(seen.state, record),
        input=InputObject(seen.state.created.input_file_id, place.number, place.start, place.length),
        outcome=None if record is None else _outcome(record),
    )


def _custom_id(request: ApiRequest) -> str | None:
    """The rest of the path as it was sent: a custom_id may hold slashes, as such or written as `%2F`. None
    for what is no text."""
    _, _, rest = request.scope["raw_path"].partition(b"/lines/")
    try:
        return unquote_to_bytes(rest).decode()
    except UnicodeDecodeError:
        return None


async def _found(
    services: ApiServices, seen: Seen[Batch], custom_id: str
) -> tuple[FoundLine, LineRecord | None] | None:
    """The line and what is recorded of it, searched for when it is its turn. Raises `ApiError`."""
    batch = seen.state
    if batch.created.input is not None and batch.created.input.size > SEARCH_BYTES:
        raise ApiError(
            400,
            f"The input of this batch has {batch.created.input.size} bytes. A line is only searched for in "
            f"inputs of at most {SEARCH_BYTES}; the result files name every custom_id.",
        )
    try:
        async with services.searches.one(seen.project_id, PATIENCE, _LATE):
            found = await find_line(services.store, batch, custom_id, services.options.max_line_bytes)
            if found is None:
                return None
            return found, await record_of(services.journal.log, seen.id, found.line)
    except ObjectMissing as error:
        raise ApiError(
            404,
            f"The input file '{batch.created.input_file_id}' is gone, and with it the places of its lines.",
        ) from error


def _status(batch: Batch, record: LineRecord | None) -> LineStatus:
    if record is not None:
        return "completed" if is_success(record.status) else "failed"
    if batch.status == "failed":
        return "refused"
    if batch.finalizing == "cancelled" or batch.status == "cancelled":
        return "cancelled"
    return "expired" if batch.finalizing == "expired" else "waiting"


def _outcome(record: LineRecord) -> OutcomeObject:
    return OutcomeObject(
        status_code=record.status if record.status > 0 else None,
        code=ERROR_CODES.get(record.status),
        attempts=record.attempts,
        started_at=record.started,
        seconds=record.seconds,
        worker=record.worker,
        usage=usage_object(record.usage),
        recorded_at=record.second,
        event=str(record.version),
    )
