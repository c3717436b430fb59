"""Batches as a real log holds them: files in a real store, claims and flushes of a real database."""

import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from engine.answer import line_id, output_line
from engine.options import EngineOptions
from events.batch import (
    Batch,
    BatchCommand,
    BatchCreated,
    CancelBatch,
    ExpireBatch,
    InputFile,
    LinesCompleted,
    StartBatch,
    Usage,
    decide,
)
from events.buses.local_bus import LocalBus
from events.catalog import new_event
from events.database import Database
from events.event import Attachment, RecordedEvent
from events.file import DeleteFile, File, FileCreated
from events.file import decide as decide_file
from events.inputs.line_index import LINES_PER_BLOCK, BlockWriter, line_digest
from events.journal import Decision, Journal
from events.log import Board, Flush, FlushResult, Leadership, Row
from events.outcomes.lines import LineOutcome, pack_block, pack_facts, root_digest
from events.postgres_log import PostgresLog
from events.read_models import ReadModels, Seen
from events.upload import LIFETIME, UploadCreated, UploadPartAdded, fresh_part_id, fresh_upload_id
from events.work import Claim, WorkBoard
from storage.local_folder import LocalFolder
from storage.store import Store
from tests.events.stage import hand_out_one
from tests.storage.bodies import body_of

PROJECT = "proj_1"
ENDPOINT = "/v1/chat/completions"
WORKER = "worker"


def request_line(n: int, padding: int = 0) -> bytes:
    """Request line `n` of an input file, without its newline."""
    return (
        b'{"custom_id":"line-%d","method":"POST","url":"/v1/chat/completions",'
        b'"body":{"model":"m","messages":[{"role":"user","content":"%b"}]}}' % (n, b"x" * padding)
    )


def result_line(batch_id: str, line: int, status: int = 200, size: int = 0) -> bytes:
    """A result line of a status, its body `size` bytes longer than it must be."""
    body = b'{"line":%d,"text":"%b"}' % (line, b"x" * size)
    return output_line(line_id(batch_id, line), b'"line-%d"' % line, status, "req_1", body)


def outcome(batch_id: str, line: int, status: int = 200, size: int = 0) -> LineOutcome:
    """What a worker records of a line."""
    usage = Usage(1, 2, 0, 0, 3) if status == 200 else Usage()
    return LineOutcome(line, status, 1, usage, 1.0, 0.5, result_line(batch_id, line, status, size))


def index_of(content: bytes) -> list[bytes]:
    """The blocks of the line index of an input file."""
    blocks: list[BlockWriter] = []
    lines = 0
    start = 0
    for number, text in enumerate(content.split(b"\n"), 1):
        raw = text.removesuffix(b"\r")
        if raw:
            if lines % LINES_PER_BLOCK == 0:
                blocks.append(BlockWriter(lines))
            blocks[-1].add(start, len(raw), line_digest(raw), number)
            lines += 1
        start += len(text) + 1
    return [block.encode() for block in blocks]


@dataclass
class World:
    """Everything below the engine, on one database and one folder."""

    database: Database
    log: PostgresLog
    models: ReadModels
    journal: Journal
    board: WorkBoard
    store: Store
    leadership: Leadership
    options: EngineOptions

    async def file(
        self, content: bytes, *, expires_after: int | None = None, name: str = "input.jsonl"
    ) -> str:
        """A file that a client uploaded."""
        file_id = f"file-{uuid4().hex[:22]}"
        stored = await self.store.put(body_of(content), prefix="files", project="p")
        created = FileCreated(
            name, "batch", stored.size, stored.sha256.hex(), stored.key, expires_after=expires_after
        )
        await self.journal.record(
            Decision(
                [new_event(file_id, PROJECT, created)],
                [Row("file", file_id, PROJECT, label="batch", stored=stored.key)],
                expect={file_id: 0},
            )
        )
        return file_id

    async def delete_file(self, file_id: str) -> None:
        """A client deletes a file."""

        def decision(seen: Seen[File]) -> Decision:
            events = [new_event(file_id, PROJECT, event) for event in decide_file(seen.state, DeleteFile())]
            return Decision(events, [Row("file", file_id, PROJECT, hidden=True)])

        await self.journal.carry_out(File, file_id, decision)

    async def upload(self, *parts: bytes, lifetime: int = LIFETIME) -> str:
        """A pending upload with these parts."""
        upload_id = fresh_upload_id()
        created = UploadCreated("in.jsonl", "batch", "text/plain", sum(map(len, parts)), lifetime)
        events = [new_event(upload_id, PROJECT, created)]
        for part in parts:
            stored = await self.store.put(body_of(part), prefix="parts", project="p")
            added = UploadPartAdded(fresh_part_id(), stored.size, stored.sha256.hex(), stored.key)
            events.append(new_event(upload_id, PROJECT, added))
        await self.journal.record(Decision(events, [Row("upload", upload_id, PROJECT)]))
        return upload_id

    async def object_of(self, file_id: str) -> str:
        """The storage key of a file, gone or not."""
        file = await self.models.find(File, file_id)
        assert file is not None
        return file.state.created.storage_key

    async def content(self, file_id: str | None) -> bytes:
        """What a file holds; of no file nothing."""
        if file_id is None:
            return b""
        file = await self.models.get(File, file_id)
        return await self.store.read(file.state.created.storage_key, 0, file.state.created.size)

    async def batch(
        self, lines: Sequence[bytes], *, input_file_id: str | None = None, expires_after: int | None = None
    ) -> "RecordedBatch":
        """A batch that has started, all of its lines in one claim."""
        batch = await self.created(lines, input_file_id=input_file_id, expires_after=expires_after)
        await batch.start()
        return batch

    async def created(
        self,
        lines: Sequence[bytes],
        *,
        input_file_id: str | None = None,
        expires_after: int | None = None,
        metadata: str = "{}",
    ) -> "RecordedBatch":
        """A batch that is validating."""
        content = b"".join(line + b"\n" for line in lines)
        file_id = input_file_id or await self.file(content)
        file = await self.models.get(File, file_id)
        source = InputFile(file.state.created.storage_key, len(content), file.state.created.sha256)
        batch_id = f"batch_{uuid4().hex}"
        created = BatchCreated(file_id, ENDPOINT, "24h", 86_400, source, output_expires_after=expires_after)
        await self.journal.record(
            Decision(
                [new_event(batch_id, PROJECT, created, metadata=metadata)],
                [Row("batch", batch_id, PROJECT)],
                Board(batch_id, PROJECT, "planning", file_id, expires_within=86_400),
                {batch_id: 0},
            )
        )
        return RecordedBatch(self, batch_id, file_id, len(lines), index_of(content))


@dataclass
class RecordedBatch:
    """One batch, and what clients, planner and workers do to it."""

    world: World
    id: str
    input_file_id: str
    total: int
    index: list[bytes]
    claim: Claim | None = field(default=None)

    async def command(self, command: BatchCommand, board: Board) -> None:
        """Has it decided and recorded."""

        def decision(seen: Seen[Batch]) -> Decision:
            attachments = tuple(Attachment(pack_block([block])) for block in self.index)
            events = [
                new_event(
                    self.id,
                    PROJECT,
                    event,
                    attachments=attachments if isinstance(command, StartBatch) else (),
                )
                for event in decide(seen.state, command)
            ]
            return Decision(events, board=board)

        await self.world.journal.carry_out(Batch, self.id, decision)

    async def start(self) -> None:
        """The planner starts it, and a worker claims all of it."""
        await self.command(
            StartBatch(self.total, "m"), Board(self.id, PROJECT, "running", model="m", total=self.total)
        )
        (on_board,) = await self.world.board.open_batches([self.id])
        claim_id = await hand_out_one(self.world.board, self.world.leadership, on_board, self.total)
        assert claim_id is not None
        self.claim = await self.world.board.claim(claim_id, WORKER)

    async def cancel(self) -> None:
        """A client cancels it."""
        await self.command(CancelBatch(), Board(self.id, PROJECT, "stopping", stop_within=30))

    async def cancel_while_validating(self) -> None:
        """A client cancels it before it has started."""
        await self.command(CancelBatch(), Board(self.id, PROJECT, None, revoke=True))

    async def expire(self) -> None:
        """Its time is over."""
        await self.command(ExpireBatch(), Board(self.id, PROJECT, "stopping", stop_within=30))

    async def record(self, outcomes: Iterable[LineOutcome]) -> FlushResult:
        """A worker flushes outcomes of its claim."""
        assert self.claim is not None
        (result,) = await self.world.log.flush([flush_of(self.claim, outcomes)])
        return result

    async def record_lines(self, lines: Iterable[int], status: int = 200, size: int = 0) -> FlushResult:
        """The same for lines that all went alike."""
        return await self.record(outcome(self.id, line, status, size) for line in lines)

    async def state(self) -> Batch:
        """What a client sees of it."""
        return (await self.world.models.get(Batch, self.id)).state


def flush_of(claim: Claim, outcomes: Iterable[LineOutcome]) -> Flush:
    """One flush of a claim."""
    part = sorted(outcomes, key=lambda outcome: outcome.line)
    lines, results = [o.line for o in part], [o.result for o in part]
    attachment = Attachment(pack_block(results))
    completed = sum(o.succeeded for o in part)
    event = LinesCompleted(
        claim=str(claim.id),
        worker=WORKER,
        completed=completed,
        failed=len(part) - completed,
        usage=sum((o.usage for o in part), Usage()),
        began_ms=0,
        root=root_digest(lines, results, attachment.salt),
    )
    new = new_event(claim.batch_id, PROJECT, event, lines=pack_facts(part, 0), attachments=(attachment,))
    return Flush(claim.id, claim.token, new, claim.bits(lines))


def stamped(
    stream_id: str, version: int, type_: str, data: str, event_id: UUID | None = None
) -> RecordedEvent:
    """An event as a log gives it back."""
    moment = datetime.fromtimestamp(0, UTC)
    return RecordedEvent(version, event_id or uuid4(), stream_id, version, type_, PROJECT, data, "{}", moment)


def shuffled(lines: int, seed: int, most: int = 7) -> list[list[int]]:
    """All lines in flushes of 1 to `most`, in no order."""
    dice = random.Random(seed)
    ordinals = list(range(lines))
    dice.shuffle(ordinals)
    flushes = []
    while ordinals:
        size = dice.randint(1, most)
        flushes.append(ordinals[:size])
        ordinals = ordinals[size:]
    return flushes


@asynccontextmanager
async def world_on(
    url: str, folder: Path, kind_of_database: type[Database] = Database
) -> AsyncIterator[World]:
    """A world on a migrated database, objects in `folder`."""
    database = await kind_of_database.open(url)
    store = LocalFolder(folder)
    try:
        log, models, board = PostgresLog(database, store), ReadModels(database), WorkBoard(database)
        leadership = await board.take_leadership("engine", await board.observe("engine"))
        assert leadership is not None
        await board.leave(WORKER)  # of a database that was in use before
        await board.register(WORKER)
        yield World(
            database=database,
            log=log,
            models=models,
            journal=Journal(log, models, LocalBus()),
            board=board,
            store=store,
            leadership=leadership,
            options=EngineOptions(spill_folder=folder),
        )
    finally:
        await store.close()
        await database.close()
