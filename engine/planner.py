"""Plans a batch: reads its input once, and starts it or fails it with the reasons, by line.

The thinking is in `engine.planning`; here is the reading, off the event loop, and the recording.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from engine.options import EngineOptions
from engine.planning import Plan, Planning
from events.batch import Batch, BatchCommand, FailBatch, StartBatch, decide
from events.catalog import new_event
from events.event import Attachment
from events.journal import Decision, Journal
from events.lines import pack_block
from events.log import Board
from events.read_models import Seen
from events.validator import LineError, LineRules
from storage.store import Store

_logger = structlog.get_logger()
KnownModels = Callable[[], Awaitable[frozenset[str] | None]]
READ_TIMEOUT = 60.0
"""Seconds for one small read of the input, from the planning thread."""


class Planner:
    """Idempotent: a batch that is not `validating` is left alone, and of two that plan one batch at the
    same moment one is recorded."""

    def __init__(
        self, journal: Journal, store: Store, known_models: KnownModels, options: EngineOptions
    ) -> None:
        self._journal = journal
        self._store = store
        self._known_models = known_models
        self._options = options

    async def plan(self, batch_id: str) -> None:
        """Validates the input and records `BatchStarted` or `BatchFailed`. Raises `StorageError` and
        `BatchmillError` where that was not possible now."""
        seen = await self._journal.models.get(Batch, batch_id)
        if seen.state.status != "validating":
            return
        planned, blocks = await self._validated(seen)
        command: BatchCommand
        if isinstance(planned, Plan):
            command = StartBatch(planned.total, planned.model)
            board = Board(batch_id, seen.project_id, "running", model=planned.model, total=planned.total)
        else:
            command = FailBatch(tuple(planned))
            board = Board(batch_id, seen.project_id, None, revoke=True)
        attachments = tuple(blocks) if isinstance(planned, Plan) else ()

        def start(seen: Seen[Batch]) -> Decision:
            return Decision(
                [
                    new_event(
                        batch_id,
                        seen.project_id,
                        event,
                        metadata='{"actor":"planner"}',
                        attachments=attachments,
                    )
                    for event in decide(seen.state, command)
                ],
                board=board,
            )

        await self._journal.carry_out(Batch, batch_id, start)
        lines = planned.total if isinstance(planned, Plan) else 0
        _logger.info("batch planned", batch=batch_id, lines=lines, valid=isinstance(planned, Plan))

    async def _validated(self, seen: Seen[Batch]) -> tuple[Plan | list[LineError], list[Attachment]]:
        created = seen.state.created
        if created.input is None:
            return [_cannot_find(created.input_file_id, seen.project_id)], []
        rules = LineRules(created.endpoint, self._options.max_line_bytes, await self._known_models())
        key = created.input.storage_key
        loop = asyncio.get_running_loop()

        def read(start: int, end: int) -> bytes:
            return asyncio.run_coroutine_threadsafe(self._store.read(key, start, end), loop).result(
                READ_TIMEOUT
            )

        blocks: list[Attachment] = []
        with Planning(rules, self._options.spill_folder, self._options.max_batch_lines) as planning:
            async for piece in self._store.get(key):
                blocks += await asyncio.to_thread(_feed, planning, piece)
                if planning.decided:
                    break
            planned = await asyncio.to_thread(planning.finish, read)
            blocks += [Attachment(pack_block([block])) for block in planning.take_blocks()]
        return planned, blocks


def _feed(planning: Planning, piece: bytes) -> list[Attachment]:
    planning.feed(piece)
    return [Attachment(pack_block([block])) for block in planning.take_blocks()]


def _cannot_find(file_id: str, project_id: str) -> LineError:
    message = f"Cannot find file {file_id}, or organization {project_id} does not have access to it."
    return LineError("invalid_request", message, "file_id", None)
