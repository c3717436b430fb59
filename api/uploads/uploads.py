"""`/v1/uploads`: create, add a part, complete, cancel: a file that is too large to be sent at once.

Parts are stored as they come, so whatever dies, what was answered stays. Completing makes one object of them
and records it as a file; a complete that was broken off left the upload as it was, and one whose answer was
lost is answered again.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID, uuid4

from litestar import post
from litestar.params import FromPath

from api.arrivals import arriving
from api.body import announced_bytes, pieces_of, whole_body
from api.discard import discard
from api.errors import ApiError, no_such_upload
from api.files.purposes import BATCH
from api.idempotency import HEADER, conflict, idempotency_key
from api.ids import keyed_upload_id, looking_for
from api.multipart import FORM_BYTES, Form
from api.quota import place_for, quota_exceeded
from api.request import ApiRequest, origin, services_of
from api.scopes import needs
from api.services import ApiServices
from api.space import require_space
from api.uploads.assembly import Assembly
from api.uploads.part import part_too_large, stored_part
from api.uploads.request import Completion, parse_completion, parse_upload_request
from api.uploads.wire import PartObject, UploadObject, part_object, upload_object
from events.catalog import new_event
from events.errors import NotFound, UploadRefused, VersionConflict
from events.file import File, FileCreated, fresh_file_id
from events.journal import Decision
from events.log import Row
from events.read_models import Seen
from events.upload import (
    AddPart,
    CancelUpload,
    CompleteUpload,
    Part,
    Upload,
    UploadCreated,
    UploadPartAdded,
    chosen_parts,
    decide,
    fresh_part_id,
    fresh_upload_id,
    require_pending,
)
from storage.store import ObjectMissing, StorageError, Stored

MOST_PENDING: Final = 200
"""Uploads that one project may have begun and not completed; a few more where several processes begin some
at the same moment."""


@post("/uploads", status_code=200, opt=needs("write"))
async def create_upload(request: ApiRequest) -> UploadObject:
    """`POST /v1/uploads`

    With an idempotency key that began an upload before, the answer is that upload, as it is by now.
    """
    services, project_id = services_of(request), request.auth.project_id
    wanted = parse_upload_request(await whole_body(request), services.options)
    key = idempotency_key(request.headers.get(HEADER), wanted.idempotency_key)
    upload_id = fresh_upload_id() if key is None else keyed_upload_id(project_id, key)
    async with services.turns.at(f"{project_id} begins"):
        made = None if key is None else await services.journal.models.find(Upload, upload_id, project_id)
        if made is None:
            try:
                await _begin(services, project_id, upload_id, wanted.created, origin(request))
            except VersionConflict:  # a twin was faster, in another process
                if key is None:
                    raise
    seen = await services.journal.models.get(Upload, upload_id, project_id, hidden=True)
    if key is not None and seen.state.created != wanted.created:
        raise conflict(key, f"{upload_id} from other parameters")
    return await _shown(services, seen)


@post("/uploads/{upload_id:str}/parts", status_code=200, opt=needs("write"))
async def add_part(request: ApiRequest, upload_id: FromPath[str]) -> PartObject:
    """`POST /v1/uploads/{upload_id}/parts`"""
    services = services_of(request)
    most = services.options.max_part_bytes
    require_pending((await _upload(request, upload_id)).state, "add a part to an upload")
    announced = announced_bytes(request) or 0
    if announced > most + FORM_BYTES:
        raise part_too_large(most, announced)
    form = Form(request.headers.get("content-type", ""), pieces_of(request, most + FORM_BYTES))
    await require_space(services, announced)
    async with arriving(services, request.auth.project_id):
        stored = await stored_part(services.store, form, most, request.auth.project_id)
    added = UploadPartAdded(fresh_part_id(), stored.size, stored.sha256.hex(), stored.key)
    event_id, metadata = uuid4(), origin(request)
    try:
        async with services.turns.at(f"{upload_id} grows"):
            seen = await services.journal.carry_out(
                Upload,
                upload_id,
                lambda seen: addition(seen, added, event_id, metadata),
                project_id=request.auth.project_id,
                hidden=True,
            )
    except UploadRefused as error:
        # After any other error the bytes stay: an append whose answer is lost may have been recorded.
        await discard(services.store, stored, error)
        raise
    return part_object(upload_id, _recorded(seen, added.part_id))


@post("/uploads/{upload_id:str}/complete", status_code=200, opt=needs("write"))
async def complete_upload(request: ApiRequest, upload_id: FromPath[str]) -> UploadObject:
    """`POST /v1/uploads/{upload_id}/complete`

    Repeated with the same parts it is answered as before, unless it says another MD5.
    """
    services = services_of(request)
    await _upload(request, upload_id)
    wanted = parse_completion(await whole_body(request))
    # Whoever asks again while the first is still at work waits for what becomes of that.
    async with services.turns.at(f"{upload_id} ends"):
        seen = await _upload(request, upload_id)
        command = CompleteUpload(fresh_file_id(), wanted.part_ids, wanted.md5)
        if decide(seen.state, command):
            parts = chosen_parts(seen.state, wanted.part_ids)
            await require_space(services, seen.state.created.size)
            try:
                stored = await _assembled(services, seen, parts, wanted)
            except ObjectMissing:
                # Another process was faster, and the parts have been erased since; else this is an error.
                seen = await _upload(request, upload_id)
                if decide(seen.state, command):
                    raise
            else:
                seen = await _completed(request, seen.id, command, stored)
    return await _shown(services, seen)


@post("/uploads/{upload_id:str}/cancel", status_code=200, opt=needs("write"))
async def cancel_upload(request: ApiRequest, upload_id: FromPath[str]) -> UploadObject:
    """`POST /v1/uploads/{upload_id}/cancel`"""
    event_id, metadata = uuid4(), origin(request)
    with looking_for(upload_id, no_such_upload(upload_id)):
        seen = await services_of(request).journal.carry_out(
            Upload,
            upload_id,
            lambda seen: cancellation(seen, event_id, metadata),
            project_id=request.auth.project_id,
            hidden=True,
        )
    return upload_object(seen)


async def _begin(
    services: ApiServices, project_id: str, upload_id: str, created: UploadCreated, metadata: str
) -> None:
    """Records a new upload. Raises `ApiError` where the project may have no more."""
    await require_space(services, created.size)
    pending = await services.journal.models.count(Upload, project_id, MOST_PENDING)
    if pending >= MOST_PENDING:
        raise quota_exceeded(
            f"project {project_id} has {MOST_PENDING} uploads that are not completed, and may have no more. "
            "Complete or cancel them, or wait until they expire, an hour after they were begun."
        )
    async with place_for(services, project_id, created.size):
        await services.journal.record(
            Decision(
                [new_event(upload_id, project_id, created, event_id=uuid4(), metadata=metadata)],
                rows=[Row("upload", upload_id, project_id)],
                expect={upload_id: 0},
            )
        )


def addition(seen: Seen[Upload], added: UploadPartAdded, event_id: UUID, metadata: str) -> Decision:
    """What a part that was stored records. Raises `UploadRefused`."""
    return Decision(
        [
            new_event(seen.id, seen.project_id, event, event_id=event_id, metadata=metadata)
            for event in decide(seen.state, AddPart(added))
        ]
    )


def cancellation(seen: Seen[Upload], event_id: UUID, metadata: str) -> Decision:
    """What cancelling an upload records. Raises `UploadRefused`."""
    return Decision(
        [
            new_event(seen.id, seen.project_id, event, event_id=event_id, metadata=metadata)
            for event in decide(seen.state, CancelUpload())
        ],
        rows=[_ended(seen)],
    )


def completion(
    seen: Seen[Upload], command: CompleteUpload, stored: Stored, event_ids: Sequence[UUID], metadata: str
) -> Decision:
    """What completing an upload records: its end, and the file that became of it. Nothing where it was
    completed with the same parts before. Raises `UploadRefused`."""
    events = decide(seen.state, command)
    if not events:
        return Decision([])
    asked = seen.state.created
    created = FileCreated(
        filename=asked.filename,
        purpose=asked.purpose,
        size=stored.size,
        sha256=stored.sha256.hex(),
        storage_key=stored.key,
        expires_after=asked.expires_after,
    )
    return Decision(
        [
            new_event(stream_id, seen.project_id, event, event_id=event_id, metadata=metadata)
            for stream_id, event, event_id in zip(
                (command.file_id, seen.id), (created, *events), event_ids, strict=True
            )
        ],
        rows=[
            Row("file", command.file_id, seen.project_id, label=asked.purpose, stored=stored.key),
            _ended(seen),
        ],
        expect={command.file_id: 0},
    )


async def _assembled(
    services: ApiServices, upload: Seen[Upload], parts: Sequence[Part], wanted: Completion
) -> Stored:
    """The content of an upload as one object. Raises `ApiError` where it is not what it should be; then
    nothing is left of it."""
    assembly = Assembly(services.store, parts, upload.project_id, wants_md5=wanted.md5 is not None)
    stored = await assembly.stored()
    error: ApiError | None = None
    if wanted.md5 != assembly.md5:
        error = ApiError(
            400, f"Invalid 'md5': that of the parts is {assembly.md5}, but got {wanted.md5}.", param="md5"
        )
    elif upload.state.created.purpose == BATCH and not assembly.first_line.is_jsonl():
        error = ApiError(400, "Invalid file format for Batch API. Must be .jsonl")
    if error is not None:
        await discard(services.store, stored, error)
        raise error
    return stored


async def _completed(
    request: ApiRequest, upload_id: str, command: CompleteUpload, stored: Stored
) -> Seen[Upload]:
    services = services_of(request)
    event_ids, metadata = (uuid4(), uuid4()), origin(request)
    try:
        seen = await services.journal.carry_out(
            Upload,
            upload_id,
            lambda seen: completion(seen, command, stored, event_ids, metadata),
            project_id=request.auth.project_id,
            hidden=True,
        )
    except UploadRefused as error:  # it ended otherwise in between
        await discard(services.store, stored, error)
        raise
    if seen.state.completed is not None and seen.state.completed.file_id != command.file_id:
        with suppress(StorageError):  # another process was faster with the same; else the sweep removes it
            await services.store.delete(stored.key)
    return seen


def _ended(seen: Seen[Upload]) -> Row:
    return Row("upload", seen.id, seen.project_id, hidden=True)


def _recorded(seen: Seen[Upload], part_id: str) -> Part:
    part = seen.state.part(part_id)
    if part is None:
        raise NotFound(f"upload {seen.id} has no part {part_id} after it was recorded")
    return part


async def _shown(services: ApiServices, seen: Seen[Upload]) -> UploadObject:
    """An upload with its file, which may be deleted by now."""
    completed = seen.state.completed
    if completed is None:
        return upload_object(seen)
    file = await services.journal.models.find(File, completed.file_id, seen.project_id)
    return upload_object(seen, file)


async def _upload(request: ApiRequest, upload_id: str) -> Seen[Upload]:
    """The upload, ended or not, if it is the project's. Raises `ApiError`."""
    with looking_for(upload_id, no_such_upload(upload_id)):
        return await services_of(request).journal.models.get(
            Upload, upload_id, request.auth.project_id, hidden=True
        )
