"""Finds contents that the log names and storage lacks, as after a restore, and makes some of them again.

Result files are made again from the log while their result lines live there. Nothing else can be: an input
and the parts of an upload were in storage alone.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, Literal

import msgspec

from engine.result_files import put_result_files, remove_result_files
from engine.result_lines import result_lines
from events.batch import Batch
from events.errors import BatchmillError
from events.file import File
from events.log import Log
from events.read_models import ReadModels
from events.upload import Upload
from events.work import WorkBoard
from storage.store import ObjectMissing, Store

PAGE: Final = 16
"""Objects looked at together."""
Kind = Literal["file", "result", "part"]


class NotMadeAgain(BatchmillError):
    """The log does not tell these contents."""


class Lost(msgspec.Struct, frozen=True):
    """Contents that are not in storage, or not with their size: a `file` that a client sent, a `result` of a
    batch, a `part` of an upload. `id` is that of the file or upload, `batch_id` that of the batch whose
    result it is, or which cannot end without it."""

    kind: Kind
    id: str
    project_id: str
    storage_key: str
    size: int
    batch_id: str | None = None


class LostContents:
    """Over the log, the read models, the work board and the store of one installation."""

    def __init__(self, log: Log, models: ReadModels, board: WorkBoard, store: Store) -> None:
        self._log = log
        self._models = models
        self._board = board
        self._store = store

    async def find(self) -> AsyncIterator[Lost]:
        """What is lost of files that are not deleted, of deleted ones that an open batch reads, of uploads
        under way. Only that an object is there with its size is looked at, not its bytes.

        Raises `UnknownEvent` for what only a newer program can read, `StorageUnavailable`, and
        `DatabaseUnavailable`.
        """
        reading = {batch.input_file_id: batch.batch_id for batch in await self._board.open_batches()}
        after = ""
        while ids := await self._models.visible(File, after=after, limit=PAGE):
            for lost in await asyncio.gather(*(self._lost_file(id, reading.get(id)) for id in ids)):
                if lost is not None:
                    yield lost
            after = ids[-1]
        for id, batch_id in reading.items():
            if (lost := await self._lost_held(id, batch_id)) is not None:
                yield lost
        after = ""
        while ids := await self._models.visible(Upload, after=after, limit=PAGE):
            for id in ids:
                for lost in await self._lost_parts(id):
                    yield lost
            after = ids[-1]

    async def make_again(self, lost: Lost) -> None:
        """Makes a result file again, under the key that its event names, with the bytes that the event says.

        Raises `NotMadeAgain` where the log does not tell them (any more), what reading the batch raises where
        its results are damaged or its input is gone, and `StorageError`: nothing is changed then.
        """
        batch = None if lost.kind != "result" else await self._models.find(Batch, lost.batch_id or "")
        if batch is None:
            raise NotMadeAgain(f"{lost.id}: its contents were in storage alone; copy them from a backup")
        file = await self._models.get(File, lost.id, hidden=True)
        made = await put_result_files(
            self._store, result_lines(self._log, self._store, batch.id, batch.state), batch.project_id
        )
        try:
            same = [one for one in made.objects if one.sha256.hex() == file.state.created.sha256]
            if not same:
                raise NotMadeAgain(f"{lost.id}: the log gives other bytes than batch {batch.id} had")
            await self._store.put_again(self._store.get(same[0].key), lost.storage_key)
        finally:
            await remove_result_files(self._store, made)
        # Of a file that was deleted meanwhile, the eraser may have come by already.
        if (await self._models.get(File, lost.id, hidden=True)).state.gone:
            await self._store.delete(lost.storage_key)

    async def _lost_file(self, id: str, read_by: str | None) -> Lost | None:
        file = await self._models.find(File, id)
        if file is None or file.state.gone:
            return None
        created = file.state.created
        if await self._whole(created.storage_key, created.size):
            return None
        kind: Kind = "file" if created.batch_id is None else "result"
        return Lost(kind, id, file.project_id, created.storage_key, created.size, created.batch_id or read_by)

    async def _lost_held(self, id: str, batch_id: str) -> Lost | None:
        """An input that is deleted for its project, and goes for good when the batch has ended."""
        file = await self._models.find(File, id)
        if file is None or not file.state.gone:
            return None
        created = file.state.created
        if await self._whole(created.storage_key, created.size) or not await self._board.holds_input(id):
            return None
        return Lost("file", id, file.project_id, created.storage_key, created.size, batch_id)

    async def _lost_parts(self, id: str) -> Sequence[Lost]:
        upload = await self._models.find(Upload, id)
        if upload is None or upload.state.status != "pending":
            return ()
        return [
            Lost("part", id, upload.project_id, part.storage_key, part.size)
            for part in upload.state.parts
            if not await self._whole(part.storage_key, part.size)
        ]

    async def _whole(self, key: str, size: int) -> bool:
        """Whether an object is there and ends where it should."""
        start = max(size - 1, 0)
        try:
            end = await self._store.read(key, start, size + 1)
        except ObjectMissing:
            return False
        return len(end) == size - start
