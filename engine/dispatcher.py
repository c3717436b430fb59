"""The leader's desk: cuts chunks as fast as workers drain them, ends what is over, says why others wait.

Each pass looks at the whole work board and does what it finds to do: expires batches whose deadline has
passed, has batches looked at that need planning or finalizing, hands out chunks on every open route, and
offers again what lies free (a message may have been lost). So a pass also is the reconciler: wiping the bus
costs time, never lines.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from engine.admission import Admission
from engine.cutting import next_cuts
from engine.options import EngineOptions
from engine.origin import origin
from engine.routes import Route, paused_everywhere, route_of
from events.batch import Batch, BatchCreated, ExpireBatch, decide
from events.bus import LOOK, Notice, Work
from events.catalog import new_event
from events.errors import BusUnavailable, NotFound, UnknownEvent
from events.failpoint import at
from events.journal import Decision, Journal
from events.log import Board, Leadership
from events.read_models import Seen
from events.work import OpenBatch, WorkBoard
from storage.store import StorageError, Store

_logger = structlog.get_logger()
OFFER_AGAIN: Final = 5.0
"""Seconds after which a chunk that still lies free is offered again, doubling up to `SELDOM`: the message may
be lost, or the workers busy, and then each more is one more to clear away."""
SELDOM: Final = 320.0
LOOK_AGAIN: Final = 1.0
"""Seconds between two notices that a batch needs a hand."""
FREE_CLAIMS: Final = 1000
_NO_WORKER: Final = "waiting for a worker"
_ROLE: Final = "dispatcher"
BREATH: Final = 0.01
"""Seconds from a pass for which something was appended to the next one, however fast the log grows."""
NOT_YET: Final = {BatchCreated.__name__, LOOK}
"""Notices of batches that need another hand first."""


class Health(Protocol):
    """What the dispatcher asks of a route."""

    @property
    def reason(self) -> str | None:
        """Why it is paused, if so."""
        ...


class OwnWorker(Protocol):
    """The worker of the leader's own process, whose routes are known without a beat's delay."""

    @property
    def id(self) -> str:
        """What the work board calls it."""
        ...


class _Offer(msgspec.Struct, frozen=True):
    """When a chunk is to be offered next, if it still lies free, and how long after that."""

    due: float
    wait: float = OFFER_AGAIN

    def made(self, now: float) -> "_Offer":
        return _Offer(now + self.wait, min(2 * self.wait, SELDOM))


class Dispatcher:
    """Runs under a leadership; every write of it checks the token."""

    def __init__(
        self,
        journal: Journal,
        board: WorkBoard,
        store: Store,
        routes: Sequence[tuple[Route, Health]],
        options: EngineOptions,
        own: OwnWorker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._board = board
        self._store = store
        self._routes = routes
        self._options = options
        self._own = own
        self._clock = clock
        self._admission = Admission(options.limits, clock)
        self._offers: dict[int, _Offer] = {}
        self._looked: dict[tuple[str, str], float] = {}
        self._space: tuple[float, int | None] = (float("-inf"), None)
        self._woken = asyncio.Event()

    def wake(self, notices: Sequence[Notice]) -> None:
        """Something was appended. A batch that has to be planned first is no reason to look: a look now would
        only put off the one when it is planned."""
        if any(notice.type not in NOT_YET for notice in notices):
            self._woken.set()

    async def run(self, leadership: Leadership) -> None:
        """Passes until cancelled. Raises `LeadershipLost`, and what the database raises."""
        self._offers.clear()
        self._looked.clear()
        while True:
            woken = self._woken.is_set()
            self._woken.clear()
            await self.look_at_everything(leadership)
            if woken:
                await asyncio.sleep(BREATH)
            try:
                async with asyncio.timeout(self._options.poll):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def look_at_everything(self, leadership: Leadership) -> None:
        """One pass."""
        batches, free, workers, floor = await asyncio.gather(
            self._board.open_batches(),
            self._board.free_claims(FREE_CLAIMS),
            self._board.pauses(),
            self._below_floor(),
        )
        lying = {work.claim_id for work in free}
        self._offers = {id: offer for id, offer in self._offers.items() if id in lying}
        wants = {(b.batch_id, b.phase) for b in batches}
        self._looked = {want: when for want, when in self._looked.items() if want in wants}
        parked: dict[str, str] = {}
        for batch in batches:
            if batch.phase == "running" and batch.expires_in <= 0:
                try:
                    await self._expire(batch, leadership)
                except (NotFound, UnknownEvent) as error:
                    parked[batch.batch_id] = f"cannot expire: {error}"
            elif batch.needs_a_hand:
                await self._have_looked_at(batch)
        reasons = await self._hand_out(batches, free, workers, floor, leadership) | parked
        changed = {
            b.batch_id: reasons.get(b.batch_id)
            for b in batches
            if b.phase == "running" and b.waiting != reasons.get(b.batch_id)
            if b.batch_id in reasons or not _left_lying(b)
        }
        if changed:
            await self._board.explain(changed, leadership)

    async def _expire(self, batch: OpenBatch, leadership: Leadership) -> None:
        def expire(seen: Seen[Batch]) -> Decision:
            metadata = origin(_ROLE, seen.state.traceparent)
            return Decision(
                [
                    new_event(batch.batch_id, batch.project_id, event, metadata=metadata)
                    for event in decide(seen.state, ExpireBatch())
                ],
                board=Board(
                    batch.batch_id, batch.project_id, "stopping", stop_within=self._options.cancel_grace
                ),
            )

        await self._journal.carry_out(Batch, batch.batch_id, expire, leadership=leadership)
        _logger.info("batch expired", batch=batch.batch_id, lines_left=batch.lines_left)

    async def _have_looked_at(self, batch: OpenBatch) -> None:
        now = self._clock()
        wants = (batch.batch_id, batch.phase)
        if now - self._looked.get(wants, float("-inf")) >= LOOK_AGAIN:
            self._looked[wants] = now
            await self._journal.bus.announce([Notice(batch.batch_id, LOOK, 0)])

    async def _hand_out(
        self,
        batches: Sequence[OpenBatch],
        free: Sequence[Work],
        workers: Mapping[str, Mapping[str, str]],
        floor: str | None,
        leadership: Leadership,
    ) -> dict[str, str]:
        """Cuts and offers chunks; answers why batches get none. `workers` are all there are, each with the
        routes it has paused; `floor` is why storage lets nothing be handed out, if so."""
        running = {b.batch_id: b for b in batches if b.phase == "running"}
        held_up = self._admission.held_up(b for b in running.values() if self._route(b) is not None)
        reasons: dict[str, str] = {}
        for route, health in self._routes:
            mine = [b for b in running.values() if self._route(b) == route.name and b.batch_id not in held_up]
            reason = floor or self._paused(route, health, workers) or (None if workers else _NO_WORKER)
            if reason is None:
                on_route = {b.batch_id for b in mine}
                ready = [work for work in free if work.batch_id in on_route]
                try:
                    await self._fill(route, mine, ready, len(workers), leadership)
                except BusUnavailable as error:
                    # Workers find the chunks all the same, only later.
                    reasons |= {b.batch_id: str(error) for b in mine if not b.held}
            else:
                reasons |= {b.batch_id: reason for b in mine}
        for batch in running.values():
            if self._route(batch) is None:
                reasons[batch.batch_id] = (
                    f"waiting for an upstream that serves model {batch.model!r}: none is set"
                )
        return reasons | held_up

    async def _fill(
        self,
        route: Route,
        batches: Sequence[OpenBatch],
        ready: Sequence[Work],
        workers: int,
        leadership: Leadership,
    ) -> None:
        cuts = next_cuts(batches, ready, workers, self._options.chunk_lines)
        new: list[Work] = []
        if cuts:
            claim_ids = await self._board.hand_out(leadership, [(cut.batch, cut.lines) for cut in cuts])
            made = zip(cuts, claim_ids, strict=True)
            new = [
                Work(cut.batch.batch_id, id, lines=cut.lines, first_line=cut.batch.next_line)
                for cut, id in made
                if id is not None
            ]
        await self._offer(route, [*ready, *new])

    async def _offer(self, route: Route, ready: Sequence[Work]) -> None:
        now = self._clock()
        for work in ready:
            offer = self._offers.get(work.claim_id) or _Offer(now)
            if now >= offer.due:
                await at("offer.before")
                await self._journal.bus.offer(route.name, work)
                self._offers[work.claim_id] = offer.made(now)
                await at("offer.after")

    def _paused(self, route: Route, health: Health, workers: Mapping[str, Mapping[str, str]]) -> str | None:
        """Why no worker sends anything on the route, if so."""
        own = None if self._own is None else self._own.id
        return paused_everywhere(
            [health.reason if id == own else pauses.get(route.name) for id, pauses in workers.items()]
        )

    async def _below_floor(self) -> str | None:
        """Why storage lets nothing be handed out, if so; looked at once a second."""
        looked_at, free = self._space
        if self._clock() - looked_at >= 1.0:
            try:
                free = await self._store.free_space()
            except StorageError as error:
                return f"storage is away: {error}"
            self._space = (self._clock(), free)
        if free is None or free >= self._options.free_space_floor:
            return None
        # Clients read this, and may not see by how much: it tells what other projects store.
        floor = self._options.free_space_floor
        return f"disk below floor: less than {floor:,} bytes free (free_space_floor)"

    def _route(self, batch: OpenBatch) -> str | None:
        route = route_of([route for route, _ in self._routes], batch.model or "")
        return None if route is None else route.name


def _left_lying(batch: OpenBatch) -> bool:
    """Whether nobody takes what lies ready of a batch: then the reason that a worker gave for it stands."""
    return batch.held == 0 and batch.free > 0
