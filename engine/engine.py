"""The roles that move batches forward, put together for one process.

    notices ──▶ desk: planner, finalizer
    work    ──▶ worker: a lane for each route, the recorder
    leader  ──▶ dispatcher, followers (projector, eraser), sweeper

A role that ends is the end of the engine: its owner sees the error and starts anew.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from engine.desk import Desk
from engine.dispatcher import Dispatcher
from engine.eraser import Eraser
from engine.finalizer import Finalizer
from engine.input_lines import InputLines
from engine.lane import Lane
from engine.options import EngineOptions
from engine.planner import Planner
from engine.projector import Projector
from engine.recorder import Recorder
from engine.route_watch import RouteWatch
from engine.routes import PausePolicy, Route
from engine.upstream import Upstream
from engine.worker import Worker
from events.batch import Batch
from events.bus import Notice
from events.errors import BatchmillError
from events.follower import Follower
from events.journal import Journal
from events.leadership import Candidate
from events.log import Leadership
from events.read_models import Seen
from events.work import WorkBoard
from storage.store import StorageError, Store
from storage.sweep import sweep

_logger = structlog.get_logger()
LEADERSHIP: Final = "lead"
SWEEP_EVERY: Final = 3600.0
ORPHAN_AGE: Final = timedelta(days=1)
"""A younger object may belong to a put whose event is still to come."""


class Engine:
    """`run` until cancelled; call `stop` first for a clean end."""

    def __init__(
        self,
        journal: Journal,
        board: WorkBoard,
        store: Store,
        routes: Sequence[tuple[Route, Upstream]],
        options: EngineOptions,
    ) -> None:
        self._journal = journal
        self._store = store
        self._options = options
        pauses = PausePolicy(first_wait=options.probe_interval, longest_wait=options.probe_interval_max)
        self.watches = {route.name: RouteWatch(route.name, upstream, pauses) for route, upstream in routes}
        self._recorder = Recorder(journal, options)
        self._worker = Worker(board, journal.models, journal.bus, self._inputs, self._recorder, options)
        for route, upstream in routes:
            watch = self.watches[route.name]
            lane = Lane(upstream, watch, self._recorder, options, alive=self._worker.alive)
            self._worker.serve(route.name, lane)
        self._dispatcher = Dispatcher(
            journal, board, store, [(route, self.watches[route.name]) for route, _ in routes], options
        )
        self._desk = Desk(
            board,
            journal.bus,
            Planner(journal, store, self._known_models, options),
            Finalizer(journal, store, options),
        )
        eraser = Eraser(journal.log, journal.models, board, store)
        self._followers = [
            Follower("projector", journal.log, journal.models, Projector(journal.models)),
            Follower("eraser", journal.log, journal.models, eraser.handle),
        ]
        self._candidate = Candidate(
            LEADERSHIP, board, self._lead, lease=options.lease, beat=options.beat, clock=time.monotonic
        )

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self.watches.values():
                group.create_task(watch.run())
            group.create_task(self._worker.run())
            group.create_task(self._desk.run())
            group.create_task(self._candidate.run())

    async def stop(self) -> None:
        """Takes no more work, records what ends within the drain time and gives the rest back."""
        await self._worker.stop()

    async def _lead(self, leadership: Leadership) -> None:
        undo = self._journal.bus.on_wake(self._wake)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._dispatcher.run(leadership))
                group.create_task(self._sweep())
                for follower in self._followers:
                    group.create_task(follower.run(leadership))
        finally:
            undo()

    def _wake(self, notices: Sequence[Notice]) -> None:
        self._dispatcher.wake()
        for follower in self._followers:
            follower.wake()

    async def _sweep(self) -> None:
        while True:
            try:
                swept = await sweep(self._store, self._journal.models.named, datetime.now(UTC) - ORPHAN_AGE)
                if swept:
                    _logger.info("orphans swept", objects=swept)
            except (BatchmillError, StorageError) as error:
                _logger.warning("orphans not swept", reason=str(error))
            await asyncio.sleep(SWEEP_EVERY)

    def _inputs(self, seen: Seen[Batch]) -> InputLines:
        return InputLines(self._journal.log, self._store, seen.id, seen.state.created)

    async def _known_models(self) -> frozenset[str] | None:
        """Every model that some route serves, where all of them are known; None where one is not."""
        if not self.watches:
            return None
        known: set[str] = set()
        for watch in self.watches.values():
            models = await watch.known_models()
            if models is None:
                return None
            known |= models
        return frozenset(known)
