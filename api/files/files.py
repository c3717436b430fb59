"""`/v1/files`: upload, list, retrieve, delete, download."""

from uuid import UUID, uuid4

from litestar import delete, post, route
from litestar.params import FromPath
from litestar.types import ASGIApp

from api.arrivals import arriving
from api.body import announced_bytes, pieces_of
from api.discard import discard
from api.errors import ApiError, no_such_file
from api.files.download import Content, download, opened
from api.files.form import FileForm, SentFile
from api.files.purposes import DOWNLOADED
from api.files.ranges import Span, Unsatisfiable, asked_span
from api.idempotency import HEADER, conflict, idempotency_key
from api.ids import keyed_file_id, looking_for, plausible
from api.multipart import FORM_BYTES, Form
from api.paging import files_limit, newest_first
from api.quota import place_for
from api.reads import recorded_first
from api.request import READ, ApiRequest, origin, services_of
from api.scopes import needs
from api.space import require_space
from api.wire import Deleted, FileObject, ListObject, file_object, list_object
from events.catalog import new_event
from events.errors import NotFound, VersionConflict
from events.file import DeleteFile, File, FileCreated, decide, fresh_file_id
from events.journal import Decision
from events.log import Row
from events.read_models import Seen
from events.reads import ContentRead
from storage.store import ObjectMissing


@post("/files", status_code=200, opt=needs("write"))
async def upload_file(request: ApiRequest) -> FileObject:
    """`POST /v1/files`

    With an idempotency key that made a file of the same content before, the answer is that file.
    """
    services = services_of(request)
    key = idempotency_key(request.headers.get(HEADER), None)
    body = pieces_of(request, services.options.max_form_bytes)
    form = Form(request.headers.get("content-type", ""), body)
    announced = announced_bytes(request) or 0
    await require_space(services, announced)
    project_id = request.auth.project_id
    file_id = fresh_file_id() if key is None else keyed_file_id(project_id, key)
    known = key is not None and await services.journal.models.find(File, file_id, project_id) is not None
    async with place_for(services, project_id, 0 if known else max(1, announced - FORM_BYTES)) as place:
        async with arriving(services, project_id):
            sent = await FileForm(services.store, services.options, project_id).read(form)
        if not known:
            await place.keep(sent.stored)
        # From here on the bytes stay whatever happens: an append whose answer is lost may have been recorded.
        try:
            await services.journal.record(arrival(sent, file_id, project_id, uuid4(), origin(request)))
        except VersionConflict as twin:
            if key is None:
                raise
            await discard(services.store, sent.stored, twin)
            _require_same(sent, await services.journal.models.find(File, file_id, project_id), key)
    return file_object(await services.journal.models.get(File, file_id, project_id))


@route("/files", http_method=READ, status_code=200, opt=needs("read"))
async def list_files(request: ApiRequest) -> ListObject[FileObject]:
    """`GET /v1/files`"""
    query = request.query_params
    limit, descending = files_limit(query), newest_first(query)
    purpose: str | None = query.get("purpose") or None
    after: str | None = query.get("after") or None
    if purpose is not None and not plausible(purpose):
        return list_object([], has_more=False)
    with looking_for(after, ApiError(404, "Resource not found.", param="after")):
        page = await services_of(request).journal.models.page(
            File, request.auth.project_id, after=after, limit=limit, newest_first=descending, label=purpose
        )
    return list_object([file_object(seen) for seen in page.objects], has_more=page.has_more)


@route("/files/{file_id:str}", http_method=READ, status_code=200, opt=needs("read"))
async def retrieve_file(request: ApiRequest, file_id: FromPath[str]) -> FileObject:
    """`GET /v1/files/{file_id}`"""
    return file_object(await _file(request, file_id))


@delete("/files/{file_id:str}", status_code=200, opt=needs("write"))
async def delete_file(request: ApiRequest, file_id: FromPath[str]) -> Deleted:
    """`DELETE /v1/files/{file_id}`

    Hides the file at once; its bytes are erased when no batch reads them any more.
    """
    event_id, metadata = uuid4(), origin(request)
    with looking_for(file_id, no_such_file(file_id)):
        await services_of(request).journal.carry_out(
            File,
            file_id,
            lambda seen: deletion(seen, event_id, metadata),
            project_id=request.auth.project_id,
        )
    return Deleted(file_id)


@route("/files/{file_id:str}/content", http_method=READ, status_code=200, opt=needs("read"))
async def download_file(request: ApiRequest, file_id: FromPath[str]) -> ASGIApp:
    """`GET /v1/files/{file_id}/content`, whole or one range of it"""
    seen = await _file(request, file_id)
    file = seen.state.created
    if file.purpose not in DOWNLOADED:
        raise ApiError(400, f"Not allowed to download files of purpose: {file.purpose}")
    etag = f'"{file.sha256}"'
    if request.method == "HEAD":
        return download(Content(None, file.size, etag, file.filename))
    try:
        headers = request.headers
        span = asked_span(headers.get("range"), headers.get("if-range"), file.size, etag)
    except Unsatisfiable as error:
        raise ApiError(
            416,
            f"Invalid 'Range': there are no {error}.",
            param="Range",
            headers={"content-range": f"bytes */{file.size}"},
        ) from error
    try:
        pieces = await opened(services_of(request).store, file.storage_key, span or Span(0, file.size))
    except ObjectMissing:
        await _file(request, file_id)  # deleted in between: then it is no such file
        raise
    read = ContentRead(seen.id, "bytes", *(span or Span(0, file.size)))
    pieces = await recorded_first(request, read, pieces)
    return download(Content(pieces, file.size, etag, file.filename, span))


def arrival(sent: SentFile, file_id: str, project_id: str, event_id: UUID, metadata: str) -> Decision:
    """What an upload records."""
    created = _created(sent, sent.stored.key)
    return Decision(
        [new_event(file_id, project_id, created, event_id=event_id, metadata=metadata)],
        rows=[Row("file", file_id, project_id, label=sent.purpose, stored=sent.stored.key)],
        expect={file_id: 0},
    )


def deletion(seen: Seen[File], event_id: UUID, metadata: str) -> Decision:
    """What deleting a file records. Raises `NotFound` where another deletion came first."""
    if seen.state.gone:
        raise NotFound(f"file {seen.id} is gone")
    return Decision(
        [
            new_event(seen.id, seen.project_id, event, event_id=event_id, metadata=metadata)
            for event in decide(seen.state, DeleteFile())
        ],
        rows=[Row("file", seen.id, seen.project_id, hidden=True)],
    )


def _created(sent: SentFile, storage_key: str) -> FileCreated:
    return FileCreated(
        filename=sent.filename,
        purpose=sent.purpose,
        size=sent.stored.size,
        sha256=sent.stored.sha256.hex(),
        storage_key=storage_key,
        expires_after=sent.expires_after,
    )


def _require_same(sent: SentFile, made: Seen[File] | None, key: str) -> None:
    """Raises `ApiError` where a key made another file than this, or one that is gone."""
    if made is None or made.state.gone:
        raise conflict(key, "a file that is gone")
    if _created(sent, made.state.created.storage_key) != made.state.created:
        raise conflict(key, f"{made.id} from other parameters or other content")


async def _file(request: ApiRequest, file_id: str) -> Seen[File]:
    """The file, if the project can see it. Raises `ApiError`."""
    with looking_for(file_id, no_such_file(file_id)):
        seen = await services_of(request).journal.models.get(File, file_id, request.auth.project_id)
    if seen.state.gone:  # its row was read just before it was hidden
        raise no_such_file(file_id)
    return seen
