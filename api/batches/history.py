"""`/v1/batches/{batch_id}/history`: what happened to a batch, for people: who, what, when, why, how long."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from litestar import route
from litestar.params import FromPath

from api.batches.past import LATE, PATIENCE
from api.errors import no_such_batch
from api.ids import looking_for
from api.request import READ, ApiRequest, services_of
from api.scopes import needs
from api.wire import ListObject, list_object
from events.batch import Batch
from events.history import Entry, History, Name
from events.past import whole_stream


class HistoryEntryObject(msgspec.Struct, frozen=True, kw_only=True):
    """`batch.history.entry`: a moment, or a stretch that took `seconds` (so far, where `ended_at` is null).
    `id` is its number in this answer.

    Times are Unix seconds with their fractions. `text` is a sentence of it, `why` its reason. `actors` are
    keys, roles or workers. `first_event` and `last_event` are the ids of the events that it is made of.
    """

    id: str
    object: Literal["batch.history.entry"] = "batch.history.entry"
    name: Name
    began_at: float
    ended_at: float | None
    seconds: float
    text: str
    why: str | None
    actors: Sequence[str]
    first_event: str | None
    last_event: str | None


@route("/batches/{batch_id:str}/history", http_method=READ, status_code=200, opt=needs("read"))
async def list_history(request: ApiRequest, batch_id: FromPath[str]) -> ListObject[HistoryEntryObject]:
    """`GET /v1/batches/{batch_id}/history`, in order of beginning"""
    services = services_of(request)
    with looking_for(batch_id, no_such_batch(batch_id)):
        seen = await services.journal.models.get(Batch, batch_id, request.auth.project_id)
    history = History()
    async with services.history_reads.one(seen.project_id, PATIENCE, LATE):
        async for event in whole_stream(services.journal.log, batch_id):
            history.add(event)
    waits = await services.board.waits(batch_id)
    now = datetime.fromtimestamp(await services.journal.models.now(), UTC)
    entries = enumerate(history.entries(waits), 1)
    return list_object([_shown(number, entry, now) for number, entry in entries], has_more=False)


def _shown(number: int, entry: Entry, now: datetime) -> HistoryEntryObject:
    first, last = (None, None) if entry.events is None else map(str, entry.events)
    return HistoryEntryObject(
        id=str(number),
        name=entry.name,
        began_at=_unix(entry.began),
        ended_at=None if entry.ended is None else _unix(entry.ended),
        seconds=round(entry.seconds(now), 3),
        text=entry.text,
        why=entry.why,
        actors=entry.actors,
        first_event=first,
        last_event=last,
    )


def _unix(moment: datetime) -> float:
    return round(moment.timestamp(), 3)
