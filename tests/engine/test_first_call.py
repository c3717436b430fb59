"""How often the database is asked between a new batch and its first call of the upstream.

Each time is a round trip, and every other one a commit: this is what the way takes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from engine.desk import Desk
from engine.dispatcher import Dispatcher
from engine.finalizer import Finalizer
from engine.lane import Lane
from engine.planner import Planner
from engine.recorder import Recorder
from engine.route_watch import RouteWatch
from engine.routes import Route
from engine.upstream import Answer, ModelsAnswer
from engine.worker import Worker
from events.batch import Batch
from events.database import Connection
from events.database import Database as Pools
from events.inputs.input_lines import InputLines
from events.read_models import Seen
from tests.engine.recorded import World, request_line, world_on
from tests.postgres import Database

ROUTE: Final = Route("default", "http://upstream/v1")
NEVER: Final = 600.0
"""Seconds after which anything is done that nobody asked for."""


class CountedPools(Pools):
    """A database that counts the calls that were begun, and those that have ended."""

    begun = 0
    ended = 0

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        self.begun += 1
        async with super().reading() as connection:
            yield connection
        self.ended += 1

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        self.begun += 1
        async with super().writing() as connection:
            yield connection
        self.ended += 1


class Counting:
    """An upstream that knows how many calls of the database came before its first."""

    url = ROUTE.url

    def __init__(self, pools: CountedPools) -> None:
        self._pools = pools
        self.calls: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def send(self, path: str, body: bytes, *, timeout: float) -> Answer:
        self.calls.set_result(self._pools.begun)
        return Answer(200, {}, b"{}")

    async def models(self) -> ModelsAnswer:
        return ModelsAnswer(200, None)

    async def close(self) -> None:
        return None


@asynccontextmanager
async def everybody(world: World, upstream: Counting) -> AsyncIterator[None]:
    """Every role of one process that is on the way; followers are not."""
    journal, options = world.journal, world.options

    async def known_models() -> None:
        return None

    def inputs(seen: Seen[Batch]) -> InputLines:
        return InputLines(world.log, world.store, seen.id, seen.state.created)

    recorder, watch = Recorder(journal, options), RouteWatch(ROUTE.name, upstream)
    worker = Worker(world.board, world.models, journal.bus, inputs, recorder, options)
    worker.serve(ROUTE.name, Lane(upstream, watch, recorder, options, alive=worker.alive))
    planner = Planner(journal, world.store, known_models, options)
    desk = Desk(world.board, journal.bus, planner, Finalizer(journal, world.store, options), options)
    dispatcher = Dispatcher(journal, world.board, world.store, [(ROUTE, watch)], options, own=worker)
    journal.bus.on_wake(dispatcher.wake)
    parts = (worker.run(), desk.run(), dispatcher.run(world.leadership))
    running = [asyncio.create_task(part) for part in parts]
    try:
        yield
    finally:
        for part in running:
            part.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_the_first_line_of_a_batch_is_sent_after_eleven_calls(
    database: Database, tmp_path: Path
) -> None:
    async with world_on(database.app_url, tmp_path / "objects", CountedPools) as opened:
        rare = msgspec.structs.replace(opened.options, poll=NEVER, beat=NEVER, lease=3 * NEVER)
        world, pools = replace(opened, options=rare), opened.database
        assert isinstance(pools, CountedPools)
        file_id = await world.file(request_line(0) + b"\n")
        upstream, before = Counting(pools), pools.begun
        async with everybody(world, upstream), asyncio.timeout(20):
            while pools.ended < before + 4:  # noqa: ASYNC110  # the worker's registration, the first look
                await asyncio.sleep(0.01)
            made = pools.begun
            await world.created([request_line(0)], input_file_id=file_id)
            # The file, the new batch; the batch, its start; a look (three reads), the hand-out; the claim,
            # and with it the batch and the index of its lines.
            assert await upstream.calls - made <= 11
