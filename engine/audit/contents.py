"""Checks the bodies that events tell of: attachments, files, and that files are what the attachments give."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from engine.result_lines import result_lines
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
from events.inputs.planning import InputChanged
from events.log import Log
from events.outcomes.flush_body import ResultsDamaged, ResultsErased
from storage.store import ObjectMissing, Store

AT_ONCE: Final = 3
"""Bodies hashed side by side."""
CREATED: Final = (FileCreated.__name__,)
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
INLINE_BYTES: Final = 32 << 10
"""What is hashed faster than a thread takes it over."""


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
                group.create_task(self._attachments([row for row in rows if row.attachments]))
                group.create_task(self._each(self._file, [row for row in rows if row.type in CREATED]))
                group.create_task(self._each(self._results, [row for row in rows if row.type in CLOSED]))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _each(self, look: Callable[[LogRow], Awaitable[None]], rows: Sequence[LogRow]) -> None:
        for row in rows:
            with suppress(UnknownEvent):  # only a newer program can look
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
        digest = sha256()
        size = 0
        found: str | None = None
        try:
            async for piece in self._store.get(created.storage_key):
                size += len(piece)
                if len(piece) > INLINE_BYTES:
                    await asyncio.to_thread(digest.update, piece)
                else:
                    digest.update(piece)
            found = digest.hexdigest()
        except ObjectMissing:
            pass
        self._looked.bytes_ += size
        if (size, found) == (created.size, created.sha256):
            self._looked.files += 1
        elif not await self._evidence.gone(row.stream_id):
            self._looked.faults.append(
                Fault(
                    what="file",
                    key=row.stream_id,
                    position=row.position,
                    stream=row.stream_id,
                    version=row.version,
                    expected=created.sha256,
                    found=found,
                )
            )

    async def _results(self, row: LogRow) -> None:
        """Makes the result files of a batch again, and compares them byte by byte."""
        end = decode(row.type, row.data)
        assert isinstance(end, BatchCompleted | BatchCancelled | BatchExpired)
        try:
            batch = await self._batch(row.stream_id)
        except DAMAGED as error:
            self._doubt(row, None, str(error))
            return
        if batch is None or not batch.total:
            return
        files = {True: end.output_file_id, False: end.error_file_id}
        compared = {of: await self._comparison(file) for of, file in files.items() if file is not None}
        try:
            async for stretch in result_lines(self._log, self._store, row.stream_id, batch):
                for succeeded, _, text in stretch.by_file():
                    if (comparison := compared.get(succeeded)) is not None:
                        await comparison.take(text)
                    elif files[succeeded] is None:
                        raise ResultsDamaged(f"{row.stream_id} names no file of some of its results")
            for succeeded, comparison in compared.items():
                if comparison is not None and not await comparison.ended():
                    told = f"file {files[succeeded]} is not what the results recorded of {row.stream_id} give"
                    self._doubt(row, files[succeeded], told)
        except (ResultsErased, ObjectMissing):
            return
        except DAMAGED as error:
            of_input = isinstance(error, InputChanged)
            self._doubt(row, batch.created.input_file_id if of_input else None, str(error))
        self._looked.results += 1

    def _doubt(self, row: LogRow, file: str | None, told: str) -> None:
        self._looked.doubts.append(Doubt(row.stream_id, file, row.position, told))

    async def _comparison(self, file_id: str) -> "_Comparison | None":
        """None for a file that is gone."""
        events = await self._log.stream(file_id)
        if not events or any(event.type in ("FileDeleted", "FileExpired") for event in events):
            return None
        created = decode(events[0].type, events[0].data)
        return _Comparison(self._store.get(created.storage_key)) if isinstance(created, FileCreated) else None

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


class _Comparison:
    """Compares what comes with what stands in storage; once it differs, nothing more is read."""

    def __init__(self, stored: AsyncIterator[bytes]) -> None:
        self._stored = stored
        self._held, self._at = b"", 0
        self._same = True

    async def take(self, text: bytes) -> None:
        """The bytes that must come next."""
        at = 0
        while self._same and at < len(text):
            if self._at == len(self._held):
                self._held, self._at = await anext(self._stored, b""), 0
            both = min(len(text) - at, len(self._held) - self._at)
            self._same = both > 0 and text[at : at + both] == self._held[self._at : self._at + both]
            at, self._at = at + both, self._at + both

    async def ended(self) -> bool:
        """Whether all was the same, to the end."""
        return self._same and self._at == len(self._held) and not await anext(self._stored, b"")


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
