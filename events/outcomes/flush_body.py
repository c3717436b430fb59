"""The result lines of one flush, from its attachment, proven to be what was recorded."""

import asyncio
from typing import Final

import zstandard

from events.errors import BatchmillError
from events.event import Attachment
from events.log import RecordedFlush
from events.outcomes.lines import unpack_block

INLINE_BYTES: Final = 128 << 10
"""A larger stored body is unpacked in a thread, so that it holds up nothing else."""


class ResultsDamaged(BatchmillError):
    """What the log holds of a batch's results is not what was recorded; nobody is given any of it."""


class ResultsErased(ResultsDamaged):
    """The results are gone from the log: they are erased when the file of them is deleted or expires."""


async def flush_body(recorded: RecordedFlush, size: int, *, proven: bool = False) -> bytes:
    """The result lines of a flush, side by side: `size` bytes, as its facts say. Raises `ResultsErased`,
    and `ResultsDamaged` where they are others than were recorded. `proven`: whoever asks looks at digests
    elsewhere."""
    if recorded.attachment is None:
        raise ResultsErased(f"the results of event {recorded.event_id} are gone from the log")
    if len(recorded.attachment.body) > INLINE_BYTES:
        return await asyncio.to_thread(_unpack, recorded, recorded.attachment, size, proven)
    return _unpack(recorded, recorded.attachment, size, proven)


def _unpack(recorded: RecordedFlush, attachment: Attachment, size: int, proven: bool) -> bytes:
    """A large one takes milliseconds."""
    if not proven and attachment.digest != recorded.attachment_digest:
        raise ResultsDamaged(f"the results of event {recorded.event_id} do not have the recorded digest")
    try:
        body = unpack_block(attachment.body, limit=max(1, size))
    except zstandard.ZstdError as error:
        raise ResultsDamaged(f"the results of event {recorded.event_id} cannot be unpacked") from error
    if len(body) != size:
        raise ResultsDamaged(
            f"the results of event {recorded.event_id} are {len(body)} bytes and not the {size} of its lines"
        )
    return body
