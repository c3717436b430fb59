"""A worker at work: on a real log and board, against the upstream of the tests over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from engine.http_upstream import HttpUpstream
from engine.lane import Lane
from engine.recorder import Recorder
from engine.route_watch import RouteWatch
from engine.routes import PausePolicy
from engine.worker import Worker
from events.batch import Batch, StartBatch
from events.bus import Work
from events.inputs.input_lines import InputLine, InputLines
from events.log import Board
from events.outcomes.lines import unpack_facts
from events.read_models import Seen
from events.work import OpenBatch
from tests.chaos.inputs import request
from tests.engine.recorded import PROJECT, RecordedBatch, World
from tests.events.stage import hand_out_one
from tests.upstream import LedgerUpstream, ledger_upstream

ROUTE = "route"


class GatedInputs(InputLines):
    """The lines of an input, read only while the gate is open."""

    gate: asyncio.Event
    asked: asyncio.Event

    async def windows(self, ordinals: Iterable[int]) -> AsyncIterator[list[InputLine]]:
        self.asked.set()
        await self.gate.wait()
        async for window in super().windows(ordinals):
            yield window


@dataclass
class Station:
    """One worker with one lane. While `gate` is closed it waits between a claim and the first line of it."""

    world: World
    worker: Worker
    lane: Lane
    recorder: Recorder
    upstream: LedgerUpstream
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def batch(self, names: Sequence[str], told: Mapping[str, str] | None = None) -> RecordedBatch:
        """A batch that runs, of which nothing is handed out."""
        batch = await self.world.created([request(name, (told or {}).get(name, "")) for name in names])
        running = Board(batch.id, PROJECT, "running", model="m", total=batch.total)
        await batch.command(StartBatch(batch.total, "m"), running)
        return batch

    async def hand_out(self, batch: RecordedBatch, lines: int) -> int:
        """Cuts the next lines of a batch and offers them; returns the claim's id."""
        claim_id = await hand_out_one(
            self.world.board, self.world.leadership, await self.on_board(batch), lines
        )
        assert claim_id is not None
        await self.offer(Work(batch.id, claim_id, lines=lines))
        return claim_id

    async def offer(self, work: Work) -> None:
        """Offers a chunk."""
        await self.world.journal.bus.offer(ROUTE, work)

    async def on_board(self, batch: RecordedBatch) -> OpenBatch:
        """How a batch stands on the board."""
        (found,) = await self.world.board.open_batches([batch.id])
        return found

    async def until_recorded(self, batch: RecordedBatch, lines: int) -> Batch:
        """Returns the batch when so many of its lines have an outcome."""
        async with asyncio.timeout(60):
            while True:
                state = await batch.state()
                if state.completed + state.failed >= lines:
                    return state
                await asyncio.sleep(0.01)

    async def until_free(self, batch: RecordedBatch) -> OpenBatch:
        """Returns how a batch stands when nobody holds anything of it."""
        async with asyncio.timeout(60):
            while (board := await self.on_board(batch)).held:  # noqa: ASYNC110  # the board tells nobody
                await asyncio.sleep(0.01)
            return board

    async def recorded_lines(self, batch: RecordedBatch) -> list[int]:
        """The lines that have an outcome in the log, flush after flush."""
        facts = await self.world.log.facts(batch.id)
        return [line for _, _, column in facts for line in unpack_facts(column).lines]


@asynccontextmanager
async def station_on(world: World, ledger: Path, **options: Any) -> AsyncIterator[Station]:
    """A station of a world; options of the engine as a test wants them."""
    chosen = msgspec.structs.replace(world.options, **({"beat": 0.05, "flush_interval": 0.02} | options))
    async with ledger_upstream(ledger) as upstream:
        over_http = HttpUpstream(upstream.url, None)
        watch = RouteWatch(ROUTE, over_http, PausePolicy(first_wait=0.1, longest_wait=0.1))
        recorder = Recorder(world.journal, chosen)
        station: Station

        def inputs(seen: Seen[Batch]) -> InputLines:
            lines = GatedInputs(world.log, world.store, seen.id, seen.state.created)
            lines.gate, lines.asked = station.gate, station.asked
            return lines

        worker = Worker(world.board, world.models, world.journal.bus, inputs, recorder, chosen)
        lane = Lane(over_http, watch, recorder, chosen, alive=worker.alive)
        worker.serve(ROUTE, lane)
        station = Station(world, worker, lane, recorder, upstream)
        station.gate.set()
        running = [asyncio.create_task(watch.run()), asyncio.create_task(worker.run())]
        try:
            yield station
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await over_http.close()
