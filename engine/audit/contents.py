"""Checks the bodies that events tell of: attachments, files, and that files are what the attachments give."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Final
from uuid import UUID

import msgspec

from engine.audit.stored_file import INLINE_BYTES, StoredFile
from engine.result_lines import result_lines
from events.audit.ahead import ahead
from events.audit.digests import LinesDamaged, LogRow, attachment_digest, attachment_digests_of, line_root_of
from events.audit.evidence import Body, Evidence
from events.audit.naming_contents import Doubt, Fault
from events.batch import (
    Batch,
    BatchCancelled,
    BatchCompleted,
    BatchCreated,
    BatchExpired,
    LinesCompleted,
)
from events.catalog import State, decode, fold
from events.errors import UnknownEvent
from events.file import FileCreated
from events.inputs.line_index import BadIndex
from events.inputs.planning import InputChanged, InputGone
from events.log import Log
from events.outcomes.flush_body import ResultsDamaged, ResultsErased
from events.segments.shelf import SegmentDamaged
from events.upload import UploadPartAdded
from storage.store import ObjectMissing, Store

AT_ONCE: Final = 3
"""Bodies hashed side by side."""
CREATED: Final = (FileCreated.__name__,)
PARTS: Final = (UploadPartAdded.__name__,)
CLOSED: Final = (BatchCompleted.__name__, BatchCancelled.__name__, BatchExpired.__name__)
DAMAGED: Final = (
    ResultsDamaged,
    InputChanged,
    BadIndex,
    UnknownEvent,
    msgspec.MsgspecError,
    LookupError,
    ArithmeticError,
    ValueError,
)
"""What comes of making results from a log of which anything may have been changed."""
NOT_SEEN: Final = (UnknownEvent, SegmentDamaged)
"""Only a newer program can look; or a segment is damaged, which is a defect of its own."""


class Looked(msgspec.Struct):
    """What was looked at, and what is wrong with it. Bytes are those of attachments as stored, of their
    lines, and of files."""

    attachments: int = 0
    erased: int = 0
    files: int = 0
    results: int = 0
    bytes_: int = 0
    faults: list[Fault] = []
    doubts: list[Doubt] = []


class Contents:
    """`look` at the bodies of a page of events."""

    def __init__(self, evidence: Evidence, log: Log, store: Store, looked: Looked) -> None:
        self._evidence = evidence
        self._log = log
        self._store = store
        self._looked = looked
        self._room = asyncio.Semaphore(AT_ONCE)

    async def look(self, rows: Sequence[LogRow]) -> None:
        """Looks at everything that these events have recorded; they must have the digests that they name.
        Raises as storage and the database do."""
        try:
            async with asyncio.TaskGroup() as group:
                closed = [row for row in rows if row.type in CLOSED]
                results = {file for row in closed for file in files_of(row)}
                created = [row for row in rows if row.type in CREATED]
                firsts = {row.stream_id: row for row in created if row.stream_id in results}
                others = [row for row in created if row.stream_id not in results]
                group.create_task(self._attachments([row for row in rows if row.attachments]))
                group.create_task(self._each(self._file, others))
                group.create_task(self._each(self._part, [row for row in rows if row.type in PARTS]))
                group.create_task(self._each(lambda row: self._results(row, firsts), closed))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _each(self, look: Callable[[LogRow], Awaitable[None]], rows: Sequence[LogRow]) -> None:
        for row in rows:
            with suppress(*NOT_SEEN):
                await look(row)

    async def _attachments(self, rows: Sequence[LogRow]) -> None:
        by_id = {row.event_id: row for row in rows}
        expected = {
            (row.event_id, ordinal): digest
            for row in rows
            for ordinal, digest in enumerate(attachment_digests_of(row))
        }
        if not by_id:
            return
        async with asyncio.TaskGroup() as group:
            async for body in self._evidence.bodies(list(by_id)):
                digest = expected.pop((body.event_id, body.ordinal), None)
                if digest is None:
                    continue  # no event has recorded it: the look at strays finds it
                await self._room.acquire()
                group.create_task(self._attachment(by_id[body.event_id], body, digest))
        erased: dict[str, bool] = {}
        for (event_id, ordinal), digest in expected.items():
            row = by_id[event_id]
            if row.stream_id not in erased:
                erased[row.stream_id] = await self._evidence.may_be_erased(row.stream_id)
            if erased[row.stream_id]:
                self._looked.erased += 1
            else:
                self._fault_of(row, event_id, ordinal, digest, None, None)

    async def _attachment(self, row: LogRow, body: Body, digest: bytes) -> None:
        try:
            if len(body.body) > INLINE_BYTES:
                found, root, size = await asyncio.to_thread(_digested, row, body, digest)
            else:
                found, root, size = _digested(row, body, digest)
        finally:
            self._room.release()
        self._looked.attachments += 1
        self._looked.bytes_ += len(body.body) + size
        if found != digest:
            of = await self._evidence.whose(row.stream_id, found)
            self._fault_of(row, body.event_id, body.ordinal, digest, found, of)
        elif root is not None:
            told = (
                f"the lines in attachment {body.event_id}/{body.ordinal} do not have the root that the event "
                f"at position {row.position} has recorded ({root})"
            )
            self._looked.doubts.append(Doubt(row.stream_id, str(body.event_id), row.position, told))

    def _fault_of(
        self, row: LogRow, event_id: UUID, ordinal: int, digest: bytes, found: bytes | None, of: int | None
    ) -> None:
        self._looked.faults.append(
            Fault(
                "attachment",
                f"{event_id}/{ordinal}",
                row.position,
                row.stream_id,
                row.version,
                digest.hex(),
                None if found is None else found.hex(),
                of,
            )
        )

    async def _file(self, row: LogRow) -> None:
        created = decode(row.type, row.data)
        assert isinstance(created, FileCreated)
        async with aclosing(StoredFile(self._store, created.storage_key)) as file:
            await self._judge(row, created, file)

    async def _part(self, row: LogRow) -> None:
        """A part of an upload that is pending: those of others are gone, or about to be."""
        added = decode(row.type, row.data)
        assert isinstance(added, UploadPartAdded)
        if not await self._evidence.gone(row.stream_id):
            async with aclosing(StoredFile(self._store, added.storage_key)) as part:
                await self._judge(row, added, part)

    async def _judge(self, row: LogRow, created: FileCreated | UploadPartAdded, file: StoredFile) -> None:
        """Whether a file, or a part of one, is what its event has recorded."""
        found = await file.digest()
        self._looked.bytes_ += file.size
        if (file.size, found) == (created.size, created.sha256):
            self._looked.files += 1
        elif not await self._evidence.gone(row.stream_id):
            self._looked.faults.append(
                Fault(
                    what="file" if isinstance(created, FileCreated) else "part",
                    key=row.stream_id if isinstance(created, FileCreated) else created.part_id,
                    position=row.position,
                    stream=row.stream_id,
                    version=row.version,
                    expected=created.sha256,
                    found=found,
                )
            )

    async def _results(self, row: LogRow, firsts: dict[str, LogRow]) -> None:
        """Looks at the result files of a batch beside what its attachments give. One whose first event is
        among `firsts` is looked at by its digest in the same reading."""
        async with AsyncExitStack() as opened:
            files: dict[str, StoredFile] = {}
            with suppress(*NOT_SEEN):
                for id in files_of(row):
                    if (created := await self._created(id)) is not None:
                        file = StoredFile(self._store, created.storage_key)
                        files[id] = await opened.enter_async_context(aclosing(file))
                await self._compare(row, files)
            for id in files_of(row):
                if (first := firsts.pop(id, None)) is None:
                    continue
                event = decode(first.type, first.data)
                if id in files and isinstance(event, FileCreated):
                    await self._judge(first, event, files[id])
                else:
                    await self._file(first)

    async def _compare(self, row: LogRow, files: Mapping[str, StoredFile]) -> None:
        """Makes the result files of a batch again, and compares those of `files` byte by byte."""
        end = decode(row.type, row.data)
        assert isinstance(end, BatchCompleted | BatchCancelled | BatchExpired)
        if not files and files_of(row):  # all that it names are gone
            return
        try:
            batch = await self._batch(row.stream_id)
        except DAMAGED as error:
            self._doubt(row, None, str(error))
            return
        if batch is None or not batch.total:
            return
        named = {True: end.output_file_id, False: end.error_file_id}
        try:
            made = result_lines(self._log, self._store, row.stream_id, batch, proven=True)
            async with aclosing(ahead(made)) as lines:
                async for stretch in lines:
                    for succeeded, _, text in stretch.by_file():
                        if (id := named[succeeded]) is None:
                            raise ResultsDamaged(f"{row.stream_id} names no file of some of its results")
                        if id in files:
                            await files[id].take(text)
            for id, file in files.items():
                if not await file.ended():
                    told = f"file {id} is not what the results recorded of {row.stream_id} give"
                    self._doubt(row, id, told)
        except (ResultsErased, ObjectMissing, InputGone):
            return
        except DAMAGED as error:
            of_input = isinstance(error, InputChanged)
            self._doubt(row, batch.created.input_file_id if of_input else None, str(error))
        self._looked.results += 1

    def _doubt(self, row: LogRow, file: str | None, told: str) -> None:
        self._looked.doubts.append(Doubt(row.stream_id, file, row.position, told))

    async def _created(self, file_id: str) -> FileCreated | None:
        """None of a file that is gone."""
        events = await self._log.stream(file_id)
        if not events or any(event.type in ("FileDeleted", "FileExpired") for event in events):
            return None
        created = decode(events[0].type, events[0].data)
        return created if isinstance(created, FileCreated) else None

    async def _batch(self, batch_id: str) -> Batch | None:
        state: State | None = None
        after = 0
        while page := await self._log.stream(batch_id, after=after):
            for event in page:
                state = fold(state, event)
            after = page[-1].version
        return state if isinstance(state, Batch) else None


def files_of(row: LogRow) -> list[str]:
    """The files that an event of a batch names."""
    try:
        event = decode(row.type, row.data)
    except UnknownEvent:
        return []
    match event:
        case BatchCreated():
            return [event.input_file_id] if event.input is not None else []
        case BatchCompleted() | BatchCancelled() | BatchExpired():
            return [file for file in (event.output_file_id, event.error_file_id) if file is not None]
        case _:
            return []


def _digested(row: LogRow, body: Body, expected: bytes) -> tuple[bytes, str | None, int]:
    """The digest of an attachment; of one with result lines what is wrong with their root; and the bytes of
    these lines."""
    digest = attachment_digest(body.salt, body.body)
    if digest != expected or row.lines is None or row.type != LinesCompleted.__name__:
        return digest, None, 0
    try:
        event = decode(row.type, row.data)
        root, size = line_root_of(row.lines, body.salt, body.body)
    except UnknownEvent:
        return digest, None, 0
    except LinesDamaged as error:
        return digest, str(error), 0
    wrong = isinstance(event, LinesCompleted) and event.root != root
    return digest, f"found {root}" if wrong else None, size
