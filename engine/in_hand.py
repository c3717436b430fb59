"""The chunks that a worker has in hand, each in the lane of its route, and what makes it let go of them."""

import asyncio
import time
from collections.abc import Sequence

import structlog

from engine.chunk import Chunk
from engine.lane import Lane
from events.work import Held, WorkBoard

_logger = structlog.get_logger()


class ChunksInHand:
    """Between being taken and being let go a chunk is here, and nowhere else."""

    def __init__(self, board: WorkBoard) -> None:
        self._board = board
        self._lanes: dict[Chunk, Lane] = {}
        self._emptied = asyncio.Event()
        self._emptied.set()

    def __len__(self) -> int:
        return len(self._lanes)

    def take(self, chunk: Chunk, lane: Lane) -> None:
        """A chunk was claimed, to be run in a lane."""
        self._lanes[chunk] = lane
        self._emptied.clear()

    def let_go(self, chunk: Chunk) -> None:
        """Nothing of a chunk is under way any more."""
        self._lanes.pop(chunk, None)
        if not self._lanes:
            self._emptied.set()

    async def emptied(self) -> None:
        """Returns when nothing is in hand."""
        await self._emptied.wait()

    def stop_all(self) -> None:
        """Sends no more lines of any; those under way go on, and others may try the rest."""
        for chunk, lane in list(self._lanes.items()):
            lane.stop(chunk)

    def abort_all(self) -> None:
        """All claims are void, or nothing more is waited for."""
        for chunk, lane in list(self._lanes.items()):
            lane.abort(chunk)

    def stop(self, batch_id: str) -> None:
        """Sends no more lines of a batch, nor will anybody: what comes back of those under way is final."""
        for chunk, lane in list(self._lanes.items()):
            if chunk.batch_id == batch_id and not chunk.last_call:
                lane.stop(chunk, last_call=True)

    def abort(self, batch_id: str) -> None:
        """All claims of a batch are void."""
        for chunk, lane in list(self._lanes.items()):
            if chunk.batch_id == batch_id:
                lane.abort(chunk)

    def yield_older_than(self, seconds: float) -> None:
        """Hands back what has not begun of chunks that are in hand for longer."""
        now = time.monotonic()
        for chunk, lane in list(self._lanes.items()):
            if not chunk.stopping and now - chunk.began > seconds:
                _logger.info("chunk yielded", batch=chunk.batch_id, lines=chunk.unsettled)
                lane.stop(chunk)

    async def look_at_batches(self) -> None:
        """Reacts to what has become of their batches, announced or not. Raises as the board."""
        held = {chunk.batch_id for chunk in self._lanes}
        if not held:
            return
        phases = {b.batch_id: b.phase for b in await self._board.open_batches(sorted(held))}
        for batch_id in held:
            match phases.get(batch_id):
                case "running":
                    continue
                case "stopping":
                    self.stop(batch_id)
                case _:
                    self.abort(batch_id)

    async def unknown_claims(self, worker_id: str) -> Sequence[Held]:
        """Claims that the board says this worker holds, and it does not know of: the answer to a claim or to
        a hand-back was lost. What is known is asked after the board, so that a claim made meanwhile is not
        taken for one. Raises as the board."""
        held = await self._board.held_by(worker_id)
        known = {chunk.claim.id for chunk in self._lanes}
        return [claim for claim in held if claim.id not in known]
