"""A log, its read models and its work board on one database, and the steps that batches take on them."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random
from uuid import UUID, uuid4

from events.batch import (
    Batch,
    BatchCancelRequested,
    BatchCompleted,
    BatchCreated,
    BatchFinalizing,
    BatchStarted,
    InputFile,
    LinesCompleted,
    Usage,
)
from events.catalog import State, new_event
from events.database import Database
from events.event import Attachment
from events.file import FileCreated, FileDeleted
from events.log import Board, Flush, Leadership, Row
from events.origin import Origin
from events.outcomes.lines import LineOutcome, pack_block, pack_facts, root_digest
from events.postgres_log import PostgresLog
from events.read_models import KINDS, ReadModels, model_write
from events.work import Claim, OpenBatch, WorkBoard

PROJECT = "default"
BEGAN_MS = 1_790_000_000_000
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ASKED_BY = Origin("key_1", request="req_1", traceparent=TRACEPARENT)
"""Whose request it was."""


def batch_created(file_id: str = "file-1", window: int = 86_400) -> BatchCreated:
    return BatchCreated(
        file_id, "/v1/chat/completions", "24h", window, InputFile(f"objects/{file_id}", 1_000, "00" * 32)
    )


def outcome(line: int, status: int = 200) -> LineOutcome:
    """What a chat line of a few hundred tokens looks like; the same every time."""
    dice = Random(line)
    prompt, completion = dice.randint(50, 3_000), dice.randint(1, 800)
    return LineOutcome(
        line=line,
        status=status,
        attempts=1 + (dice.random() < 0.02),
        usage=Usage(prompt, completion, dice.choice((0, 0, 128, 512)), 0, prompt + completion),
        started=BEGAN_MS / 1_000 + dice.uniform(0, 20),
        seconds=dice.lognormvariate(0.7, 0.6),
        result=b'{"custom_id":"line-%d","response":{"status_code":%d}}\n' % (line, status),
    )


def flush_of(claim: Claim, lines: Sequence[int], *, event_id: UUID | None = None) -> Flush:
    """Outcomes of these lines of a claim, ready to record."""
    outcomes = [outcome(line) for line in sorted(lines)]
    results = [o.result for o in outcomes]
    attachment = Attachment(pack_block(results))
    usage = sum((o.usage for o in outcomes), Usage())
    event = LinesCompleted(
        claim=str(claim.token),
        worker="w-1",
        completed=len(outcomes),
        failed=0,
        usage=usage,
        began_ms=BEGAN_MS,
        root=root_digest(sorted(lines), results, attachment.salt),
    )
    recorded = new_event(
        claim.batch_id,
        claim.project_id,
        event,
        event_id=event_id,
        lines=pack_facts(outcomes, BEGAN_MS),
        attachments=(attachment,),
    )
    return Flush(claim.id, claim.token, recorded, claim.bits(lines))


async def hand_out_one(board: WorkBoard, leadership: Leadership, batch: OpenBatch, lines: int) -> int | None:
    """Cuts the next lines of one batch into a chunk; its claim id, None where the batch has moved on."""
    [claim_id] = await board.hand_out(leadership, [(batch, lines)])
    return claim_id


async def attachment_of(database: Database, event_id: UUID, ordinal: int = 0) -> Attachment | None:
    """One attachment of an event; None where it was erased."""
    async with database.reading() as connection:
        row = await connection.fetchrow(
            "SELECT salt, body FROM attachments WHERE event_id = $1 AND ordinal = $2", event_id, ordinal
        )
    return None if row is None else Attachment(body=row["body"], salt=row["salt"])


class Stage:
    """What a process of the program has of `events/`, and shortcuts through a batch's life."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.log = PostgresLog(database)
        self.models = ReadModels(database)
        self.board = WorkBoard(database)

    async def file(
        self, file_id: str | None = None, project: str = PROJECT, *, expires_after: int | None = None
    ) -> str:
        """Makes a file."""
        file_id = file_id or f"file-{secrets.token_hex(8)}"
        created = FileCreated("input.jsonl", "batch", 1_000, "00" * 32, f"objects/{file_id}", expires_after)
        row = Row("file", file_id, project, label="batch", stored=created.storage_key)
        event = new_event(file_id, project, created, metadata=ASKED_BY.metadata())
        await self.log.append([event], rows=[row], expect={file_id: 0})
        return file_id

    async def delete_file(self, file_id: str, project: str = PROJECT) -> None:
        await self.log.append(
            [new_event(file_id, project, FileDeleted())], rows=[Row("file", file_id, project, hidden=True)]
        )

    async def new_batch(self, file_id: str = "file-1", project: str = PROJECT, window: int = 86_400) -> str:
        """Makes a batch that nobody has planned yet."""
        batch_id = f"batch_{secrets.token_hex(16)}"
        await self.log.append(
            [new_event(batch_id, project, batch_created(file_id, window))],
            rows=[Row("batch", batch_id, project)],
            board=Board(batch_id, project, "planning", input_file_id=file_id, expires_within=window),
            expect={batch_id: 0},
        )
        return batch_id

    async def running_batch(self, lines: int, project: str = PROJECT) -> str:
        """Makes a batch whose lines wait to be handed out."""
        batch_id = await self.new_batch(project=project)
        await self.log.append(
            [new_event(batch_id, project, BatchStarted(lines, "m"))],
            board=Board(batch_id, project, "running", model="m", total=lines),
            expect={batch_id: 1},
        )
        return batch_id

    async def cancel(self, batch_id: str, version: int | None = None) -> None:
        await self.log.append(
            [new_event(batch_id, PROJECT, BatchCancelRequested())],
            board=Board(batch_id, PROJECT, "stopping", stop_within=30.0),
            expect=None if version is None else {batch_id: version},
        )

    async def finalize(self, batch_id: str) -> None:
        """Ends the right of every claim to record anything."""
        await self.log.append(
            [new_event(batch_id, PROJECT, BatchFinalizing("done"))],
            board=Board(batch_id, PROJECT, "finalizing", revoke=True),
        )

    async def complete(self, batch_id: str, output: str | None, errors: str | None = None) -> None:
        await self.log.append(
            [new_event(batch_id, PROJECT, BatchCompleted(output, errors))],
            board=Board(batch_id, PROJECT, None, revoke=True),
        )

    async def lead(self, name: str = "engine") -> Leadership:
        """Takes a leadership, whoever has it."""
        leadership = await self.board.take_leadership(name, await self.board.observe(name))
        assert leadership is not None
        return leadership

    async def worker(self) -> str:
        worker_id = f"w-{uuid4()}"
        await self.board.register(worker_id)
        return worker_id

    async def claims(self, batch_id: str, edges: Sequence[int], worker: str | None = None) -> list[Claim]:
        """Hands out the lines between these edges (the first must be the next line) and claims them."""
        leadership = await self.lead()
        worker = worker or await self.worker()
        claims = []
        for first, end in pairwise(edges):
            [batch] = await self.board.open_batches([batch_id])
            assert batch.next_line == first
            claim_id = await hand_out_one(self.board, leadership, batch, end - first)
            assert claim_id is not None
            claim = await self.board.claim(claim_id, worker)
            assert claim is not None
            claims.append(claim)
        return claims

    async def claim(self, batch_id: str, lines: int) -> Claim:
        """Hands out the first `lines` lines of a batch as one chunk and claims it."""
        [claim] = await self.claims(batch_id, [0, lines])
        return claim

    async def batch(self, batch_id: str) -> Batch:
        return (await self.models.get(Batch, batch_id)).state

    async def project(self, kind: type[State], id: str) -> None:
        """Moves a read-model row forward, as the projector does."""
        seen = await self.models.find(kind, id)
        assert seen is not None
        assert seen.id == id
        assert KINDS[kind]
        await self.models.advance([model_write(seen)])


@asynccontextmanager
async def open_stage(url: str, *, connections: int = 8, patience: float = 5.0) -> AsyncIterator[Stage]:
    """A stage of its own connections, closed at the end."""
    database = await Database.open(url, connections=connections, patience=patience)
    try:
        yield Stage(database)
    finally:
        await database.close()
