"""`/v1/batches/{batch_id}/events`: what happened to a batch, in pages or as it happens.

An event is shown as the log has it, without its bodies and without what is the server's own. Its `id` is its
place in the history of the batch: 1, 2, 3, without gaps; in a stream a mark may follow (see `cursor.py`).
"""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final, Literal

import msgspec
from litestar import MediaType, route
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from api.batches.cursor import GoesOn, goes_on, heard_of
from api.errors import no_such_batch
from api.ids import looking_for
from api.open_streams import OpenStreams
from api.paging import limit_of, number_of
from api.request import READ, ApiRequest, services_of
from api.scopes import needs
from api.stream import Stream
from api.wire import list_object
from events.batch import LAST_EVENTS, Batch
from events.event import RecordedEvent
from events.journal import Journal
from events.origin import Origin
from events.tail import tail

EVENTS_PER_PAGE: Final = 100
MOST_EVENTS: Final = 1000
SILENCE: Final = 15.0
"""Seconds after which a stream says that it is still there, and asks whether its key is."""
FORKED: Final = "log.forked"
"""The type of the message, of no event of the log, that tells of another incarnation of the log."""
_SILENT: Final = b": nothing new\n\n"
_HEADERS: Final = {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # has nginx pass each event on at once
    "x-content-type-options": "nosniff",
}
_NO_VERSION: Final = 1 << 62
"""No stream is as long."""
_OWN: Final[Mapping[str, frozenset[str]]] = {
    "BatchCreated": frozenset({"input"}),
    "LinesCompleted": frozenset({"claim"}),
}
"""Fields that are the server's business alone: where it keeps a file, and who may record what."""


class BatchEventObject(msgspec.Struct, frozen=True, kw_only=True):
    """`batch.event`; `data` is what the type's schema says, and `actor` whose key or which role caused it."""

    id: str
    object: Literal["batch.event"] = "batch.event"
    type: str
    created_at: int
    event_id: str
    actor: str | None
    data: msgspec.Raw


@route("/batches/{batch_id:str}/events", http_method=READ, status_code=200, opt=needs("read"))
async def list_events(request: ApiRequest, batch_id: FromPath[str]) -> ASGIApp:
    """`GET /v1/batches/{batch_id}/events`: a page after the event `after`; with `Accept: text/event-stream`
    all of them after `Last-Event-ID`, to the end of the batch."""
    services, query = services_of(request), request.query_params
    limit = limit_of(query, EVENTS_PER_PAGE, MOST_EVENTS)
    after = min(number_of(query, "after") or 0, _NO_VERSION)
    heard = heard_of(request.headers)
    with looking_for(batch_id, no_such_batch(batch_id)):
        seen = await services.journal.models.get(Batch, batch_id, request.auth.project_id)
    if "text/event-stream" not in request.headers.get("accept", ""):
        events = await services.journal.log.stream(batch_id, after=after, limit=limit + 1)
        shown = [event_object(event) for event in events[:limit]]
        page = msgspec.json.encode(list_object(shown, has_more=len(events) > limit))
        return ASGIResponse(body=page, media_type=MediaType.JSON)
    begin = await goes_on(services.journal.log, batch_id, heard, after)
    # What has not happened yet cannot have been heard: past it, the end of the batch would never come.
    begin = msgspec.structs.replace(begin, after=min(begin.after, seen.version))
    if seen.state.ended and begin.after == seen.version and not begin.forked:
        return Stream(204, {}, None)  # a browser's EventSource asks again until it hears this
    if request.method == "HEAD":
        return Stream(200, _HEADERS, None)
    key_id, streams = request.auth.key_id, services.streams
    streams.require_room(key_id)
    return Stream(200, _HEADERS, _frames(services.journal, batch_id, begin, streams, key_id))


def event_object(recorded: RecordedEvent) -> BatchEventObject:
    """An event as it is shown."""
    return BatchEventObject(
        id=str(recorded.version),
        type=recorded.type,
        created_at=recorded.second,
        event_id=str(recorded.event_id),
        actor=Origin.of(recorded.metadata).actor,
        data=_shown_data(recorded),
    )


def frame(recorded: RecordedEvent, mark: str = "") -> bytes:
    """An event as one message of a server-sent event stream; the mark follows the version in its id."""
    shown = msgspec.json.encode(event_object(recorded))
    id, type = f"{recorded.version}{mark}".encode(), recorded.type.encode()
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (id, type, shown)


def forked_frame(begin: GoesOn) -> bytes:
    """Tells a client that the log has not any more what it has heard after an event."""
    shown = msgspec.json.encode({"object": FORKED, "after": str(begin.after)})
    id, type = f"{begin.after}{begin.mark}".encode(), FORKED.encode()
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (id, type, shown)


def _shown_data(recorded: RecordedEvent) -> msgspec.Raw:
    own = _OWN.get(recorded.type)
    if own is None:
        return msgspec.Raw(recorded.data.encode())
    fields = msgspec.json.decode(recorded.data, type=dict[str, msgspec.Raw])
    return msgspec.Raw(msgspec.json.encode({name: v for name, v in fields.items() if name not in own}))


async def _frames(
    journal: Journal, batch_id: str, begin: GoesOn, streams: OpenStreams, key_id: str
) -> AsyncGenerator[bytes, None]:
    """Every event from where it goes on, until the batch has ended, the key opens nothing any more, or the
    server stops."""
    spoke = checked = time.monotonic()
    with streams.one(key_id):
        if begin.forked:
            yield forked_frame(begin)
        async with aclosing(tail(journal, batch_id, after=begin.after)) as pages:
            async for page in pages:
                if time.monotonic() - checked >= SILENCE:
                    if not await journal.models.opens(key_id):
                        return
                    checked = time.monotonic()
                if page:
                    yield b"".join(frame(event, begin.mark) for event in page)
                    spoke = time.monotonic()
                elif time.monotonic() - spoke >= SILENCE:
                    yield _SILENT
                    spoke = time.monotonic()
                if streams.ending or any(event.type in LAST_EVENTS for event in page):
                    return
