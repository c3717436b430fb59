"""Records outcomes: one flush under way at a time, which merges what finished meanwhile.

A flush takes what has waited, at most `flush_bytes` of result lines, and makes one `LinesCompleted` of each
claim's part. It is repeated with the same event ids until the log has answered, so a lost commit answer
neither doubles nor loses an outcome.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from engine.chunk import Chunk
from engine.options import EngineOptions
from engine.origin import origin
from events.batch import LinesCompleted, Usage
from events.bus import Notice
from events.catalog import new_event
from events.errors import DatabaseUnavailable, LogBusy
from events.event import ATTACHMENT_BYTES, Attachment
from events.journal import Journal
from events.log import Flush
from events.outcomes.lines import LineOutcome, pack_block, pack_facts, root_digest

_logger = structlog.get_logger()
INLINE_BYTES: Final = 512 << 10
"""Over so many bytes a flush is packed in a thread; below it the hand-over costs more than it frees."""
PAUSE: Final = 0.2
"""Seconds between tries of a flush while the database is away."""


class Recorder:
    """Takes outcomes at once and records them soon; `run` must be running."""

    def __init__(self, journal: Journal, options: EngineOptions) -> None:
        self._journal = journal
        self._options = options
        self._pending: dict[Chunk, list[LineOutcome]] = {}
        self._lines = 0
        self._bytes = 0
        self._in_flush = 0
        self._hurried = False
        self._filled = asyncio.Event()
        self._full = asyncio.Event()
        self._emptied = asyncio.Event()
        self._room: list[Callable[[], None]] = []
        self._emptied.set()

    @property
    def held_bytes(self) -> int:
        """Bytes of result lines that are not recorded yet."""
        return self._bytes + self._in_flush

    def add(self, chunk: Chunk, outcome: LineOutcome) -> None:
        """Takes the outcome of one line; one of a lost claim is dropped, for nothing could record it."""
        if chunk.lost:
            return
        self._pending.setdefault(chunk, []).append(outcome)
        self._lines += 1
        self._bytes += len(outcome.result)
        self._emptied.clear()
        self._filled.set()
        if self._lines >= self._options.flush_lines or self._bytes >= self._options.flush_bytes:
            self._full.set()

    def hurry(self) -> None:
        """Nothing is under way that what waits could be recorded with: it is flushed at once."""
        if self._lines:
            self._full.set()

    def on_room(self, call: Callable[[], None]) -> None:
        """Has `call` called after each flush, when bytes held have become fewer."""
        self._room.append(call)

    async def emptied(self) -> None:
        """Flushes at once, and returns when everything taken is recorded or dropped."""
        self._hurried = True
        self._full.set()
        try:
            while self._lines or self._in_flush:
                await self._emptied.wait()
        finally:
            self._hurried = False

    async def run(self) -> None:
        """Flushes until cancelled."""
        while True:
            await self._filled.wait()
            try:
                async with asyncio.timeout(self._options.flush_interval):
                    await self._full.wait()
            except TimeoutError:
                pass
            taken = self._take()
            await self._record(taken)
            self._in_flush = 0
            for call in self._room:
                call()
            if not self._lines:
                self._emptied.set()

    def _take(self) -> list[tuple[Chunk, list[LineOutcome]]]:
        """What one flush records: whole lines up to the byte limit, at least one."""
        room = self._options.flush_bytes
        taken: list[tuple[Chunk, list[LineOutcome]]] = []
        while self._pending and (room > 0 or not taken):
            chunk, outcomes = next(iter(self._pending.items()))
            count = _fitting(outcomes, min(room, ATTACHMENT_BYTES))
            if count == 0:
                if taken:
                    break
                count = 1  # larger than any flush: it goes alone
            part, rest = outcomes[:count], outcomes[count:]
            if rest:
                self._pending[chunk] = rest
            else:
                del self._pending[chunk]
            size = sum(len(o.result) for o in part)
            room -= size
            self._lines -= count
            self._bytes -= size
            self._in_flush += size
            part.sort(key=lambda outcome: outcome.line)
            taken.append((chunk, part))
        if not self._lines:
            self._filled.clear()
        enough = self._lines >= self._options.flush_lines or self._bytes >= self._options.flush_bytes
        if not (enough or self._hurried):
            self._full.clear()
        return taken

    async def _record(self, taken: Sequence[tuple[Chunk, list[LineOutcome]]]) -> None:
        taken = [(chunk, part) for chunk, part in taken if not chunk.lost]
        if not taken:
            return
        if self._in_flush > INLINE_BYTES:
            flushes = await asyncio.to_thread(self._pack, taken)
        else:
            flushes = self._pack(taken)
        results = await self._flush(flushes)
        for (chunk, part), result in zip(taken, results, strict=True):
            if result == "recorded":
                chunk.settle(len(part))
            else:
                _logger.warning("claim lost", batch=chunk.batch_id, claim=chunk.claim.id, lines=len(part))
                chunk.lose()
        await self._journal.bus.announce(
            [
                Notice(chunk.batch_id, LinesCompleted.__name__, 0)
                for (chunk, _), result in zip(taken, results, strict=True)
                if result == "recorded"
            ]
        )

    async def _flush(self, flushes: Sequence[Flush]) -> Sequence[str]:
        attempt = 0
        while True:
            try:
                return await self._journal.log.flush(flushes)
            except (LogBusy, DatabaseUnavailable) as error:
                attempt += 1
                if attempt & (attempt - 1) == 0:  # at the doubling tries only: an outage may be long
                    _logger.warning("flush put off", attempt=attempt, flushes=len(flushes), reason=str(error))
                await asyncio.sleep(PAUSE)

    def _pack(self, taken: Sequence[tuple[Chunk, list[LineOutcome]]]) -> list[Flush]:
        return [self._flush_of(chunk, part) for chunk, part in taken]

    def _flush_of(self, chunk: Chunk, part: Sequence[LineOutcome]) -> Flush:
        began_ms = int(min(outcome.started for outcome in part) * 1000)
        lines = [outcome.line for outcome in part]
        results = [outcome.result for outcome in part]
        attachment = Attachment(pack_block(results))
        completed = sum(outcome.succeeded for outcome in part)
        event = LinesCompleted(
            claim=str(chunk.claim.id),
            worker=chunk.worker_id,
            completed=completed,
            failed=len(part) - completed,
            usage=sum((outcome.usage for outcome in part), Usage()),
            began_ms=began_ms,
            root=root_digest(lines, results, attachment.salt),
        )
        return Flush(
            claim_id=chunk.claim.id,
            token=chunk.claim.token,
            event=new_event(
                chunk.batch_id,
                chunk.claim.project_id,
                event,
                event_id=chunk.next_event_id(),
                metadata=origin("worker", chunk.traceparent),
                lines=pack_facts(part, began_ms),
                attachments=(attachment,),
            ),
            bits=chunk.claim.bits(lines),
        )


def _fitting(outcomes: Sequence[LineOutcome], room: int) -> int:
    """How many of the first outcomes have room."""
    size = 0
    for count, outcome in enumerate(outcomes):
        size += len(outcome.result)
        if size > room:
            return count
    return len(outcomes)
