"""The follower that moves read-model rows forward, so that a GET has a short tail to fold."""

from collections.abc import Sequence

import structlog

from events.catalog import kind_of
from events.errors import UnknownEvent
from events.event import RecordedEvent
from events.read_models import ModelWrite, ReadModels, model_write

_logger = structlog.get_logger()


class Projector:
    """A `Handle` for a follower."""

    def __init__(self, models: ReadModels) -> None:
        self._models = models

    async def __call__(self, events: Sequence[RecordedEvent]) -> Sequence[ModelWrite]:
        """The rows of the streams that these events belong to, folded to the end of each stream."""
        writes = []
        for stream_id in dict.fromkeys(event.stream_id for event in events):
            kind = kind_of(stream_id)
            try:
                seen = None if kind is None else await self._models.find(kind, stream_id)
            except UnknownEvent as error:
                _logger.warning("row left as it is", stream=stream_id, reason=str(error))
                continue
            if seen is not None:
                writes.append(model_write(seen))
        return writes
