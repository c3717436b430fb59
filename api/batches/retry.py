"""`POST /v1/batches/{batch_id}/retry`: a new batch of an ended one's lines that failed or were never run.

Its input is a new file, made of those lines as they stand in the old one, and recorded together with the
batch: neither is ever there without the other.
"""

from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

from litestar import post
from litestar.params import FromPath

from api.batches.batches import require_pace, shown_batch
from api.batches.request import RetryRequest, parse_retry_request
from api.body import whole_body
from api.discard import discard
from api.errors import NO_RETRY, ApiError, no_such_batch
from api.expiry import BATCH_FILE_SECONDS
from api.files.purposes import BATCH
from api.idempotency import HEADER, conflict, idempotency_key
from api.ids import fresh_batch_id, keyed_batch_id, looking_for
from api.quota import place_for
from api.request import ApiRequest, origin, services_of
from api.scopes import needs
from api.services import ApiServices
from api.space import require_space
from api.wire import BatchObject
from events.batch import Batch, BatchCreated, InputFile
from events.catalog import new_event
from events.errors import VersionConflict
from events.failpoint import at
from events.file import FileCreated, fresh_file_id
from events.inputs.input_lines import InputLines
from events.inputs.line_index import BadIndex
from events.inputs.planning import InputChanged
from events.journal import Decision
from events.log import Board, Row
from events.outcomes.line_set import LineSet
from events.outcomes.retry_lines import lines_to_retry
from events.read_models import Seen
from storage.store import Stored

PATIENCE: Final = 60.0
"""Seconds that finding the lines may take, waiting for its turn included."""
_LATE: Final = "The lines to retry could not be found in time."
_PREFIX: Final = "files"


@post("/batches/{batch_id:str}/retry", status_code=200, opt=needs("write"))
async def retry_batch(request: ApiRequest, batch_id: FromPath[str]) -> BatchObject:
    """`POST /v1/batches/{batch_id}/retry`

    With an idempotency key that made a batch before, the answer is that batch.
    """
    services, project_id = services_of(request), request.auth.project_id
    wanted = parse_retry_request(await whole_body(request), services.options.completion_windows)
    key = idempotency_key(request.headers.get(HEADER), wanted.idempotency_key)
    new_id = fresh_batch_id() if key is None else keyed_batch_id(project_id, key)
    with looking_for(batch_id, no_such_batch(batch_id)):
        old = await services.journal.models.get(Batch, batch_id, project_id)
    # A twin at the same moment waits for what becomes of the first, instead of copying its lines, too.
    async with services.turns.at(new_id):
        if key is None or not await _made(services, old, wanted, new_id, key):
            await _make(services, old, wanted, new_id, key, origin(request))
    return await shown_batch(services, await services.journal.models.get(Batch, new_id, project_id))


async def _make(
    services: ApiServices, old: Seen[Batch], wanted: RetryRequest, new_id: str, key: str | None, metadata: str
) -> None:
    """Records the new batch, or finds that a twin has. Raises `ApiError`."""
    _require_ended(old)
    require_pace(services, old.project_id)
    async with services.failure_reads.one(old.project_id, PATIENCE, _LATE):
        lines = await lines_to_retry(services.journal.log, old, wanted.group)
    if not len(lines):
        raise _nothing_to_retry(old.id, wanted.group)
    await require_space(services, 0)
    async with place_for(services, old.project_id, 1) as place:
        stored = await _stored(services, old, lines)
        await place.keep(stored)
        # From here on the bytes stay whatever happens: an append whose answer is lost may have been recorded.
        try:
            await services.journal.record(renewal(old, wanted, new_id, fresh_file_id(), stored, metadata))
        except VersionConflict as twin:
            if key is None:
                raise
            await discard(services.store, stored, twin)
            if not await _made(services, old, wanted, new_id, key):
                raise


async def _made(services: ApiServices, old: Seen[Batch], wanted: RetryRequest, new_id: str, key: str) -> bool:
    """Whether the key made the batch that is wanted. Raises `ApiError` where it made another one."""
    made = await services.journal.models.find(Batch, new_id, old.project_id)
    if made is None:
        return False
    created = made.state.created
    if created.input is None or created != _created(old, wanted, created.input_file_id, created.input):
        raise conflict(key, f"{new_id} from other parameters")
    return True


def renewal(
    old: Seen[Batch], wanted: RetryRequest, batch_id: str, file_id: str, stored: Stored, metadata: str
) -> Decision:
    """What retrying a batch records: the new input file, which is `stored`, and the batch of it."""
    sha256 = stored.sha256.hex()
    file = FileCreated(
        filename=f"{old.id}_retry.jsonl",
        purpose=BATCH,
        size=stored.size,
        sha256=sha256,
        storage_key=stored.key,
        expires_after=BATCH_FILE_SECONDS,
    )
    batch = _created(old, wanted, file_id, InputFile(stored.key, stored.size, sha256))
    return Decision(
        [
            new_event(file_id, old.project_id, file, event_id=uuid4(), metadata=metadata),
            new_event(batch_id, old.project_id, batch, event_id=uuid4(), metadata=metadata),
        ],
        rows=[
            Row("file", file_id, old.project_id, label=BATCH, stored=stored.key),
            Row("batch", batch_id, old.project_id),
        ],
        board=Board(
            batch_id,
            old.project_id,
            phase="planning",
            input_file_id=file_id,
            expires_within=batch.window_seconds,
        ),
        expect={file_id: 0, batch_id: 0},
    )


def _created(old: Seen[Batch], wanted: RetryRequest, file_id: str, input_: InputFile) -> BatchCreated:
    before = old.state.created
    window, seconds = wanted.window or (before.completion_window, before.window_seconds)
    return BatchCreated(
        input_file_id=file_id,
        endpoint=before.endpoint,
        completion_window=window,
        window_seconds=seconds,
        input=input_,
        metadata=before.metadata if wanted.metadata is None else wanted.metadata,
        output_expires_after=before.output_expires_after,
        retry_of=old.id,
        retry_group=wanted.group,
    )


def _nothing_to_retry(batch_id: str, group: str | None) -> ApiError:
    if group is None:
        return ApiError(400, f"Batch '{batch_id}' has no lines that failed or were never run.")
    message = f"Invalid 'group': batch '{batch_id}' has no errors with the id '{group}'."
    return ApiError(400, message, param="group")


def _require_ended(old: Seen[Batch]) -> None:
    batch = old.state
    if batch.ended and batch.in_progress_at is not None:
        return
    why = "its lines never started: create a batch of its input" if batch.ended else "it has not ended"
    raise ApiError(409, f"Cannot retry a batch with status '{batch.status}': {why}.", headers=NO_RETRY)


async def _stored(services: ApiServices, old: Seen[Batch], lines: LineSet) -> Stored:
    """The lines as a new object. Raises `ApiError` where they are not there any more."""
    inputs = InputLines(services.journal.log, services.store, old.id, old.state.created)
    try:
        await at("put.before")
        stored = await services.store.put(_text(inputs, lines), prefix=_PREFIX, project=old.project_id)
        await at("put.after")
    except (InputChanged, BadIndex) as error:
        raise ApiError(
            409,
            f"Cannot retry batch '{old.id}': its lines are gone, with its input file or its output file.",
            headers=NO_RETRY,
        ) from error
    return stored


async def _text(inputs: InputLines, lines: LineSet) -> AsyncIterator[bytes]:
    async for window in inputs.windows(lines):
        yield b"".join(found.raw + b"\n" for found in window)
