"""Says on the work board why a batch waits."""

import structlog

from events.errors import BatchmillError
from events.work import WorkBoard

_logger = structlog.get_logger()


async def say_why(board: WorkBoard, batch_id: str, reason: str) -> None:
    """Whoever asks for the batch is told the reason. That this cannot be said now holds up nobody."""
    try:
        await board.explain({batch_id: reason})
    except BatchmillError as error:
        _logger.warning("cannot say why a batch waits", batch=batch_id, reason=str(error))
