"""Plans a batch: reads its input once, and starts it or fails it with the reasons, by line.

The thinking is in `events/inputs/planning.py`; here is the reading, off the event loop where the input is
large, and the recording.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from engine.index_spill import IndexSpill
from engine.lost_input import LostInputs
from engine.options import EngineOptions
from engine.origin import origin
from events.batch import (
    BLOCKS_PER_GROUP,
    Batch,
    BatchCommand,
    FailBatch,
    IndexLines,
    StartBatch,
    decide,
)
from events.catalog import new_event
from events.errors import UnknownEvent
from events.event import Attachment
from events.inputs.planning import Plan, Planning, cannot_find, fitting, input_lost
from events.inputs.validator import LineError, LineRules
from events.journal import Decision, Journal
from events.log import Board
from events.read_models import Seen
from storage.store import ObjectMissing, Store

_logger = structlog.get_logger()
_ROLE: Final = "planner"
KnownModels = Callable[[], Awaitable[frozenset[str] | None]]
READ_TIMEOUT = 60.0
"""Seconds for one small read of the input, from the planning thread."""
INLINE_BYTES: Final = 16 << 10
"""An input of so many bytes is thought through at once, in a millisecond: to hand it to a thread, time and
again, would take longer."""


class Planner:
    """Idempotent: a batch that is not `validating` is left alone, and of two that plan one batch at the
    same moment one is recorded."""

    def __init__(
        self,
        journal: Journal,
        store: Store,
        known_models: KnownModels,
        options: EngineOptions,
        lost: LostInputs | None = None,
    ) -> None:
        self._lost = lost or LostInputs()
        self._journal = journal
        self._store = store
        self._known_models = known_models
        self._options = options

    async def read(self, batch_id: str) -> Seen[Batch]:
        """The batch that is to be planned. Raises as `ReadModels.get`."""
        return await self._journal.models.get(Batch, batch_id)

    def plans_at_once(self, seen: Seen[Batch]) -> bool:
        """Whether the input is so small that `plan` takes but a moment."""
        input_ = seen.state.created.input
        return input_ is None or input_.size <= INLINE_BYTES

    async def plan(self, seen: Seen[Batch]) -> None:
        """Validates the input and records `BatchStarted` or `BatchFailed`. Raises `StorageError` and
        `BatchmillError` where that was not possible now, such as `UnknownEvent` for a parked batch. An input
        that is gone from storage fails the batch when it was given up."""
        if seen.parked is not None:
            raise UnknownEvent(seen.parked)
        if seen.state.status != "validating":
            return
        with IndexSpill(self._options.spill_folder) as index:
            try:
                planned = await self._validated(seen, index)
            except ObjectMissing:
                if not self._lost.given_up(seen.id):
                    raise
                planned = [input_lost(seen.state.created.input_file_id)]
            if isinstance(planned, Plan):
                await self._start(seen, planned, index)
            else:
                await self._fail(seen, planned)
        self._lost.found(seen.id)
        lines = planned.total if isinstance(planned, Plan) else 0
        _logger.info("batch planned", batch=seen.id, lines=lines, valid=isinstance(planned, Plan))

    async def _start(self, seen: Seen[Batch], plan: Plan, index: IndexSpill) -> None:
        for group in range(index.full_groups):
            blocks = await index.group(group)
            await self._record(seen, IndexLines(group * BLOCKS_PER_GROUP), None, blocks)
        blocks = await index.group(index.full_groups)
        tokens = plan.estimated_tokens
        board = Board(
            seen.id,
            seen.project_id,
            "running",
            model=plan.model,
            total=plan.total,
            estimated_tokens=tokens,
        )
        await self._record(seen, StartBatch(plan.total, plan.model, tokens), board, blocks)

    async def _fail(self, seen: Seen[Batch], errors: Sequence[LineError]) -> None:
        board = Board(seen.id, seen.project_id, None, revoke=True)
        await self._record(seen, FailBatch(tuple(errors)), board, ())

    async def _record(
        self,
        seen: Seen[Batch],
        command: BatchCommand,
        board: Board | None,
        attachments: tuple[Attachment, ...],
    ) -> None:
        def decided(seen: Seen[Batch]) -> Decision:
            return Decision(
                [
                    new_event(
                        seen.id,
                        seen.project_id,
                        event,
                        metadata=origin(_ROLE, seen.state.traceparent),
                        attachments=attachments,
                    )
                    for event in decide(seen.state, command)
                ],
                board=board,
            )

        await self._journal.settle(seen, decided)

    async def _validated(self, seen: Seen[Batch], index: IndexSpill) -> Plan | list[LineError]:
        created = seen.state.created
        if created.input is None:
            return [cannot_find(created.input_file_id, seen.project_id)]
        limits = self._options.limits.of(seen.project_id)
        most_lines = limits.most_lines(self._options.max_batch_lines)
        rules = LineRules(created.endpoint, self._options.max_line_bytes, await self._known_models())
        with Planning(rules, self._options.spill_folder, most_lines) as planning:
            think = self._think_at_once if self.plans_at_once(seen) else self._think_in_threads
            planned = await think(created.input.storage_key, planning, index)
            for block in planning.take_blocks():
                index.add(block)
        return fitting(planned, limits, seen.project_id)

    async def _think_at_once(self, key: str, planning: Planning, index: IndexSpill) -> Plan | list[LineError]:
        data = b"".join([piece async for piece in self._store.get(key, 0, INLINE_BYTES)])
        _feed(planning, data, index)
        return planning.finish(lambda start, end: data[start:end])

    async def _think_in_threads(
        self, key: str, planning: Planning, index: IndexSpill
    ) -> Plan | list[LineError]:
        loop = asyncio.get_running_loop()

        def read(start: int, end: int) -> bytes:
            return asyncio.run_coroutine_threadsafe(self._store.read(key, start, end), loop).result(
                READ_TIMEOUT
            )

        async for piece in self._store.get(key):
            await asyncio.to_thread(_feed, planning, piece, index)
            if planning.decided:
                break
        return await asyncio.to_thread(planning.finish, read)


def _feed(planning: Planning, piece: bytes, index: IndexSpill) -> None:
    planning.feed(piece)
    for block in planning.take_blocks():
        index.add(block)
