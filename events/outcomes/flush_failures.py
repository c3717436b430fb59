"""Why the lines of one flush failed, read from their answers."""

import asyncio
from typing import Final

from events.log import RecordedFlush
from events.outcomes.cause import Failure, failure_of
from events.outcomes.flush_body import flush_body
from events.outcomes.lines import LineFacts, is_success

INLINE_BYTES: Final = 128 << 10
"""More bytes of results are read in a thread, so that they hold up nothing else."""


async def flush_failures(recorded: RecordedFlush, facts: LineFacts) -> list[tuple[int, Failure]]:
    """The lines of a flush that failed, each with why; `facts` are its own. Raises as `flush_body`."""
    size = sum(facts.sizes)
    body = await flush_body(recorded, size)
    if size > INLINE_BYTES:
        return await asyncio.to_thread(_failures, facts, body)
    return _failures(facts, body)


def _failures(facts: LineFacts, body: bytes) -> list[tuple[int, Failure]]:
    return [
        (line, failure_of(result)) for line, status, result in facts.results(body) if not is_success(status)
    ]
