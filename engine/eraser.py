"""Erases contents that nobody may read any more: a follower's handler.

Objects of files that are gone are deleted from storage, but an input stays until no open batch reads it.
The parts of an upload go when it has ended, completed or not: its file has an object of its own.
The result lines in the log live as long as the output file (the error file where there is no output);
erasing them leaves their digests. Everything here is harmless when repeated.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from events.batch import Batch, BatchCancelled, BatchCompleted, BatchExpired, BatchFailed
from events.errors import UnknownEvent
from events.event import RecordedEvent
from events.failpoint import at
from events.file import File, FileDeleted, FileExpired
from events.log import Log
from events.read_models import ModelWrite, ReadModels, Seen
from events.upload import Upload, UploadCancelled, UploadCompleted, UploadExpired
from events.work import WorkBoard
from storage.store import StorageUnavailable, Store

_logger = structlog.get_logger()
GONE: Final = frozenset({FileDeleted.__name__, FileExpired.__name__})
ENDED: Final = frozenset(
    kind.__name__ for kind in (BatchCompleted, BatchCancelled, BatchExpired, BatchFailed)
)
UPLOADED: Final = frozenset(kind.__name__ for kind in (UploadCompleted, UploadCancelled, UploadExpired))

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 60.0
"""Seconds before storage that is away is asked again, doubling."""


class Eraser:
    """`handle` is what its follower calls."""

    def __init__(self, log: Log, models: ReadModels, board: WorkBoard, store: Store) -> None:
        self._log = log
        self._models = models
        self._board = board
        self._store = store

    async def handle(self, events: Sequence[RecordedEvent]) -> Sequence[ModelWrite]:
        """Erases what these events leave without a reader; writes no read models.

        Waits for storage that is away, as long as it takes: nothing else is behind it in this follower.
        Raises as `Log.erase`, and `UnknownEvent` where it hangs on a parked object whether something is to be
        erased: the same events are then handled again, so that this is done late rather than never.
        """
        for event in events:
            if event.type in GONE:
                await self._file_gone(event.stream_id)
            elif event.type in ENDED:
                await self._batch_ended(event.stream_id)
            elif event.type in UPLOADED:
                await self._upload_ended(event.stream_id)
        return ()

    async def _file_gone(self, file_id: str) -> None:
        file = await self._models.find(File, file_id)
        if file is None:
            return
        await self._delete_unread(file)
        batch_id = file.state.created.batch_id
        batch = None if batch_id is None else await self._models.find(Batch, batch_id)
        if batch is None:
            return
        _require_whole(batch)
        if file_id == (batch.state.output_file_id or batch.state.error_file_id):
            await self._log.erase(batch.id, file_id)

    async def _batch_ended(self, batch_id: str) -> None:
        batch = await self._models.find(Batch, batch_id)
        if batch is None or batch.state.created.input is None:
            return
        file = await self._models.find(File, batch.state.created.input_file_id)
        if file is None:
            return
        _require_whole(file)
        if file.state.gone:
            await self._delete_unread(file)

    async def _upload_ended(self, upload_id: str) -> None:
        upload = await self._models.find(Upload, upload_id)
        if upload is None:
            return
        _require_whole(upload)
        for part in upload.state.parts:
            await self._delete(part.storage_key, upload.id)

    async def _delete_unread(self, file: Seen[File]) -> None:
        """Deletes the object of a file that is gone, unless an open batch reads it: that one's end will."""
        if await self._board.holds_input(file.id):
            return
        await self._delete(file.state.created.storage_key, file.id)

    async def _delete(self, storage_key: str, owner: str) -> None:
        await at("delete.before")
        pause = FIRST_PAUSE
        while True:
            try:
                await self._store.delete(storage_key)
                break
            except StorageUnavailable as error:
                _logger.warning("deletion put off", owner=owner, seconds=pause, reason=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        await at("delete.after")


def _require_whole(seen: Seen[Batch] | Seen[File] | Seen[Upload]) -> None:
    if seen.parked is not None:
        raise UnknownEvent(f"{seen.id}: {seen.parked}")
