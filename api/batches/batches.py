"""`/v1/batches`: create, list, retrieve, cancel.

Creating and cancelling are decisions on a stream: each is recorded with the place of the batch on the work
board in one transaction, and the answer is what the log says afterwards.
"""

from collections.abc import Sequence
from uuid import UUID, uuid4

from litestar import post, route
from litestar.params import FromPath

from api.batches.past import moment_of, past_batch
from api.batches.request import BatchRequest, parse_batch_request
from api.body import whole_body
from api.errors import ApiError, no_such_batch
from api.files.purposes import BATCH
from api.idempotency import HEADER, conflict, idempotency_key
from api.ids import fresh_batch_id, keyed_batch_id, looking_for, plausible
from api.paging import batches_limit
from api.rates import too_often
from api.request import READ, ApiRequest, origin, services_of
from api.scopes import needs
from api.services import ApiServices
from api.wire import BatchObject, ListObject, batch_object, list_object
from events.batch import Batch, BatchCreated, BatchEvent, CancelBatch, InputFile, decide
from events.catalog import new_event
from events.errors import UnknownEvent, VersionConflict
from events.file import File
from events.journal import TRIES, Decision
from events.log import Board, Row
from events.read_models import Seen


@post("/batches", status_code=200, opt=needs("write"))
async def create_batch(request: ApiRequest) -> BatchObject:
    """`POST /v1/batches`

    A file that the project cannot see is no error here: the batch is created, and fails in validation.
    With an idempotency key that made a batch before, the answer is that batch.
    """
    services = services_of(request)
    wanted = parse_batch_request(await whole_body(request), services.options.completion_windows)
    project_id, event_id, metadata = request.auth.project_id, uuid4(), origin(request)
    key = idempotency_key(request.headers.get(HEADER), wanted.idempotency_key)
    batch_id = fresh_batch_id() if key is None else keyed_batch_id(project_id, key)
    for attempt in range(TRIES):
        made = None if key is None else await services.journal.models.find(Batch, batch_id, project_id)
        if key is not None and made is not None:
            _require_same(wanted, made, key)
            break
        if attempt == 0:
            require_pace(services, project_id)
        file = await visible_file(services, wanted.input_file_id, project_id)
        decision = creation(wanted, file, batch_id, project_id, event_id, metadata)
        try:
            await services.journal.record(decision)
            # What the work board could add nobody knows yet; and to ask would hold up the batch on its way.
            return batch_object(await services.journal.models.get(Batch, batch_id, project_id), None)
        except VersionConflict:  # the file was deleted, or a twin was made, in between: look again
            if attempt == TRIES - 1:
                raise
    return await shown_batch(services, await services.journal.models.get(Batch, batch_id, project_id))


@route("/batches", http_method=READ, status_code=200, opt=needs("read"))
async def list_batches(request: ApiRequest) -> ListObject[BatchObject]:
    """`GET /v1/batches`, newest first"""
    services = services_of(request)
    query = request.query_params
    limit = batches_limit(query)
    after: str | None = query.get("after") or None
    with looking_for(after, no_such_batch(after or "")):
        page = await services.journal.models.page(Batch, request.auth.project_id, after=after, limit=limit)
    return list_object(await _all_shown(services, page.objects), has_more=page.has_more)


@route("/batches/{batch_id:str}", http_method=READ, status_code=200, opt=needs("read"))
async def retrieve_batch(request: ApiRequest, batch_id: FromPath[str]) -> BatchObject:
    """`GET /v1/batches/{batch_id}`, with `at` as it was at a moment"""
    services, moment = services_of(request), moment_of(request.query_params)
    with looking_for(batch_id, no_such_batch(batch_id)):
        seen = await services.journal.models.get(Batch, batch_id, request.auth.project_id)
    return await (shown_batch(services, seen) if moment is None else past_batch(services, seen, moment))


@post("/batches/{batch_id:str}/cancel", status_code=200, opt=needs("write"))
async def cancel_batch(request: ApiRequest, batch_id: FromPath[str]) -> BatchObject:
    """`POST /v1/batches/{batch_id}/cancel`"""
    services = services_of(request)
    event_ids, metadata = (uuid4(), uuid4()), origin(request)
    grace = services.options.cancel_grace
    with looking_for(batch_id, no_such_batch(batch_id)):
        seen = await services.journal.carry_out(
            Batch,
            batch_id,
            lambda seen: cancellation(seen, event_ids, metadata, grace),
            project_id=request.auth.project_id,
        )
    return await shown_batch(services, seen)


def creation(
    wanted: BatchRequest,
    file: Seen[File] | None,
    batch_id: str,
    project_id: str,
    event_id: UUID,
    metadata: str,
) -> Decision:
    """What creating a batch records. `file` is its input as the project sees it (None: it does not), which
    must not have changed when the batch is recorded.

    Raises `ApiError` where the file is for something else than batches.
    """
    if file is not None:
        require_batch_purpose(file)
    created = _created(wanted, None if file is None else _input_of(file.state))
    return Decision(
        [new_event(batch_id, project_id, created, event_id=event_id, metadata=metadata)],
        rows=[Row("batch", batch_id, project_id)],
        board=Board(
            batch_id,
            project_id,
            phase="planning",
            input_file_id=None if file is None else file.id,
            expires_within=wanted.window_seconds,
        ),
        expect={batch_id: 0} if file is None else {batch_id: 0, file.id: file.version},
    )


def cancellation(seen: Seen[Batch], event_ids: Sequence[UUID], metadata: str, grace: float) -> Decision:
    """What cancelling a batch records; lines in flight have `grace` seconds to end.

    Raises `CannotCancel` for a batch that has ended otherwise.
    """
    events: list[BatchEvent] = decide(seen.state, CancelBatch())
    return Decision(
        [
            new_event(seen.id, seen.project_id, event, event_id=event_id, metadata=metadata)
            for event, event_id in zip(events, event_ids, strict=False)
        ],
        board=_board_of_cancelled(seen, grace),
    )


def _created(wanted: BatchRequest, input_: InputFile | None) -> BatchCreated:
    return BatchCreated(
        input_file_id=wanted.input_file_id,
        endpoint=wanted.endpoint,
        completion_window=wanted.completion_window,
        window_seconds=wanted.window_seconds,
        input=input_,
        metadata=wanted.metadata,
        output_expires_after=wanted.output_expires_after,
    )


def _require_same(wanted: BatchRequest, made: Seen[Batch], key: str) -> None:
    """Raises `ApiError` where a batch was made from other parameters than are wanted now."""
    if _created(wanted, made.state.created.input) != made.state.created:
        raise conflict(key, f"{made.id} from other parameters")


def require_pace(services: ApiServices, project_id: str) -> None:
    """Raises `ApiError` where the project makes more batches than it may."""
    limit = services.options.batch_limit(project_id)
    if limit.most and (standing := services.rates.take(limit, project_id)).wait:
        raise too_often(limit, standing, project_id)


def _board_of_cancelled(seen: Seen[Batch], grace: float) -> Board | None:
    """Nothing runs of a batch in validation; one that finalizes, or already stops, goes on as it does."""
    batch = seen.state
    if batch.status == "validating":
        return Board(seen.id, seen.project_id, phase=None, revoke=True)
    if batch.status == "in_progress" and batch.finalizing is None and not batch.stopping:
        return Board(seen.id, seen.project_id, phase="stopping", stop_within=grace)
    return None


def require_batch_purpose(file: Seen[File]) -> None:
    """Raises `ApiError` for a file that is for something else than batches."""
    if file.state.created.purpose != BATCH:
        raise ApiError(
            400,
            f"Invalid 'input_file_id': the purpose of file '{file.id}' is "
            f"'{file.state.created.purpose}', but must be '{BATCH}'.",
            param="input_file_id",
        )


async def visible_file(services: ApiServices, file_id: str, project_id: str) -> Seen[File] | None:
    """The file, if the project can see it. Raises `UnknownEvent` for one that is parked."""
    if not plausible(file_id):
        return None
    seen = await services.journal.models.find(File, file_id, project_id)
    if seen is None or seen.hidden or seen.state.gone:
        return None
    if seen.parked is not None:
        raise UnknownEvent(seen.parked)
    return seen


def _input_of(file: File) -> InputFile:
    return InputFile(file.created.storage_key, file.created.size, file.created.sha256)


async def shown_batch(services: ApiServices, seen: Seen[Batch]) -> BatchObject:
    """A batch with how it stands on the work board."""
    return (await _all_shown(services, [seen]))[0]


async def _all_shown(services: ApiServices, batches: Sequence[Seen[Batch]]) -> list[BatchObject]:
    """Batches with how they stand on the work board."""
    open_ids = [seen.id for seen in batches if not seen.state.ended]
    board = await services.board.open_batches(open_ids) if open_ids else []
    standing = {open_batch.batch_id: open_batch for open_batch in board}
    return [batch_object(seen, standing.get(seen.id)) for seen in batches]
