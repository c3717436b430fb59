"""The roles that move batches forward, put together for one process: all of them, or those it is to have.

    plan ◀── notices ── desk: planner, finalizer
    run  ◀── work ───── worker: a lane for each route, the recorder; the lookout, where no message comes
    lead ◀── lease ──── dispatcher, followers (projector, eraser, others'), sealer, expirer, lifter, sweeper

A role that ends is the end of the engine: its owner sees the error and starts anew.
"""

import asyncio
import enum
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from engine.audit.sealer import Sealer
from engine.desk import Desk
from engine.dispatcher import Dispatcher
from engine.eraser import Eraser
from engine.expirer import Expirer
from engine.finalizer import Finalizer
from engine.lane import Lane
from engine.lifter import Lifter
from engine.lookout import Lookout
from engine.neighbours import Neighbours
from engine.options import EngineOptions
from engine.planner import Planner
from engine.projector import Projector
from engine.recorder import Recorder
from engine.route_watch import RouteWatch
from engine.routes import PausePolicy, Route
from engine.upstream import Upstream
from engine.webhooks.sender import WebhookSender
from engine.worker import Worker
from events.audit.records import AuditRecords
from events.batch import Batch
from events.bus import Notice
from events.errors import BatchmillError
from events.follower import Follower, Handle
from events.inputs.input_lines import InputLines
from events.journal import Journal
from events.leadership import Candidate
from events.log import Leadership
from events.read_models import Seen
from events.staleness import boot_time
from events.work import WorkBoard
from storage.store import StorageError, Store
from storage.sweep import require_owner, sweep

_logger = structlog.get_logger()


class Role(enum.StrEnum):
    """What a process may do for the batches. Of those that may lead, one does."""

    LEAD = "lead"
    PLAN = "plan"
    RUN = "run"


EVERY_ROLE: Final = frozenset(Role)
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
        roles: frozenset[Role] = EVERY_ROLE,
        followers: Mapping[str, Handle] | None = None,
        webhooks: WebhookSender | None = None,
        sealer: Sealer | None = None,
        audit: AuditRecords | None = None,
    ) -> None:
        """`followers`: what the leader runs besides its own, by the names of their checkpoints; `webhooks`
        sends what their follower has to tell; without a `sealer` the log is not sealed; `audit` knows what
        was signed of it."""
        self._journal = journal
        self._board = board
        self._store = store
        self._sweep_at = 0.0
        self._webhooks = webhooks
        self._sealer = sealer
        self._audit = audit
        self._options = options
        pauses = PausePolicy(first_wait=options.probe_interval, longest_wait=options.probe_interval_max)
        self.watches = {route.name: RouteWatch(route.name, upstream, pauses) for route, upstream in routes}
        self._worker = self._make_worker(board, routes) if Role.RUN in roles else None
        self._lookout = (
            None
            if self._worker is None
            else Lookout(board, journal.bus, self._worker, [route for route, _ in routes], options.poll)
        )
        self._desk = self._make_desk(board) if Role.PLAN in roles else None
        self._dispatcher = Dispatcher(
            journal,
            board,
            store,
            [(route, self.watches[route.name]) for route, _ in routes],
            options,
            own=self._worker,
        )
        self._expirer = Expirer(journal)
        self._lifter = Lifter(journal)
        handlers: dict[str, Handle] = {
            "projector": Projector(journal.models),
            "eraser": Eraser(journal.log, journal.models, board, store).handle,
            **(followers or {}),
        }
        self._followers = [
            Follower(name, journal.log, journal.models, handle) for name, handle in handlers.items()
        ]
        self._candidate = (
            Candidate(
                LEADERSHIP, board, self._lead, lease=options.lease, beat=options.beat, clock=time.monotonic
            )
            if Role.LEAD in roles
            else None
        )

    async def run(self) -> None:
        """Works until cancelled."""
        parts = [self._worker, self._lookout, self._desk, self._candidate]
        async with asyncio.TaskGroup() as group:
            for watch in self.watches.values():
                group.create_task(watch.run())
            for part in parts:
                if part is not None:
                    group.create_task(part.run())

    async def stop(self) -> None:
        """Takes no more work, records what ends within the drain time and gives the rest back."""
        await asyncio.gather(*(part.stop() for part in (self._worker, self._desk) if part is not None))

    def hurry(self) -> None:
        """Has `stop` wait for nothing: what is under way is given back, too."""
        for part in (self._worker, self._desk):
            if part is not None:
                part.hurry()

    def _make_worker(self, board: WorkBoard, routes: Sequence[tuple[Route, Upstream]]) -> Worker:
        journal, options = self._journal, self._options
        recorder = Recorder(journal, options)
        worker = Worker(board, journal.models, journal.bus, self._inputs, recorder, options)
        for route, upstream in routes:
            watch = self.watches[route.name]
            worker.serve(route.name, Lane(upstream, watch, recorder, options, alive=worker.alive))
        return worker

    def _make_desk(self, board: WorkBoard) -> Desk:
        journal, options = self._journal, self._options
        return Desk(
            board,
            journal.bus,
            Planner(journal, self._store, self._known_models, options),
            Finalizer(journal, self._store, options, self._audit),
            options,
        )

    async def _lead(self, leadership: Leadership) -> None:
        undo = self._journal.bus.on_wake(self._wake)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._dispatcher.run(leadership))
                group.create_task(self._expirer.run(leadership))
                group.create_task(self._lifter.run(leadership))
                group.create_task(self._sweep())
                if self._worker is None:
                    group.create_task(self._watch_workers())
                if self._webhooks is not None:
                    group.create_task(self._webhooks.run(leadership))
                if self._sealer is not None:
                    group.create_task(self._sealer.run(leadership))
                for follower in self._followers:
                    group.create_task(follower.run(leadership))
        finally:
            undo()

    async def _watch_workers(self) -> None:
        """As each worker watches the others, where none may be left to do it."""
        candidate, options = self._candidate, self._options
        assert candidate is not None
        await Neighbours(self._board, options.lease, boot_time).watch(options.beat, lambda: candidate.sure)

    def _wake(self, notices: Sequence[Notice]) -> None:
        self._dispatcher.wake(notices)
        for follower in self._followers:
            follower.wake()

    async def _sweep(self) -> None:
        """Each hour, and not each time the leadership is won: it looks at all of storage."""
        while True:
            await asyncio.sleep(self._sweep_at - time.monotonic())
            self._sweep_at = time.monotonic() + SWEEP_EVERY
            try:
                models = self._journal.models
                await require_owner(self._store, await models.log())
                now = datetime.fromtimestamp(await models.now(), UTC)  # this machine's clock may be wrong
                swept = await sweep(self._store, models.named, now - ORPHAN_AGE)
                if swept:
                    _logger.info("orphans swept", objects=swept)
            except (BatchmillError, StorageError) as error:
                _logger.warning("orphans not swept", reason=str(error))

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
