"""`GET /v1/batches/{batch_id}?at=`: a batch as it was at a moment, folded from its events."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from api.errors import ApiError, invalid_type
from api.services import ApiServices
from api.wire import BatchObject, batch_object
from events.batch import Batch
from events.past import Moment, Was, batch_at
from events.read_models import Seen
from events.work import Wait

AT: Final = "at"
PATIENCE: Final = 60.0
"""Seconds that reading the events of a batch may take, waiting for its turn included."""
LATE: Final = "The history could not be read in time."
EVENTS: Final = 10**9
"""A whole number below it is the id of an event, a larger one a time in Unix seconds."""
_NUMBER: Final = r"[0-9]{1,11}(\.[0-9]{1,6})?"
_ISO: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
AT_PATTERN: Final = f"^({_NUMBER}|{_ISO})$"


def moment_of(query: Mapping[str, str]) -> Moment | None:
    """The moment that a query asks for; None where it asks for none. Raises `ApiError`."""
    text = query.get(AT)
    if text is None:
        return None
    try:
        if re.fullmatch(_NUMBER, text):
            if text.isdecimal() and int(text) < EVENTS:
                return Moment(version=int(text))
            return Moment(time=datetime.fromtimestamp(float(text), UTC))
        if re.fullmatch(_ISO, text):
            moment = datetime.fromisoformat(text)
            return Moment(time=moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        pass
    raise invalid_type(AT, "a time (Unix seconds, or ISO 8601), or the id of an event", text)


async def past_batch(services: ApiServices, seen: Seen[Batch], moment: Moment) -> BatchObject:
    """The batch as it was, and what it waited for. Raises `ApiError` where it had not been created."""
    async with services.history_reads.one(seen.project_id, PATIENCE, LATE):
        was = await batch_at(services.journal.log, seen, moment)
    if was is None:
        raise ApiError(404, f"Batch '{seen.id}' had not been created then.", param=AT)
    return _shown(was, await services.board.waits(seen.id))


def _shown(was: Was, waits: list[Wait]) -> BatchObject:
    shown = batch_object(was.seen, None)
    waited = [w.reason for w in waits if w.began <= was.at and (w.ended is None or was.at < w.ended)]
    if not waited or was.seen.state.ended:
        return shown
    live = msgspec.structs.replace(shown.batchmill, waiting_for=waited[-1])
    return msgspec.structs.replace(shown, batchmill=live)
