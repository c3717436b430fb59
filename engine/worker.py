"""A worker: takes chunks, holds claims while it can prove that it lives, and watches the others.

    registered ──beats──▶ registered
        │  └──no confirmed beat for a lease less a margin: sends nothing until one is confirmed
        │
        └──declared dead by an observer──▶ everything in hand is void; registers anew under another id

It beats, sees the beats of the others (`engine/neighbours.py`), and frees what the dead held.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

import structlog

from engine.chunk import Chunk, Job
from engine.drain import Drain
from engine.in_hand import ChunksInHand
from engine.lane import Lane
from engine.neighbours import Neighbours
from engine.options import EngineOptions
from engine.reason import say_why
from engine.recorder import Recorder
from events.batch import Batch, BatchCancelRequested, BatchExpiryReached, BatchFinalizing
from events.bus import LEFT, Bus, Notice, Subscription, Work
from events.errors import BatchmillError
from events.failpoint import at
from events.inputs.input_lines import InputLines
from events.inputs.request_line import custom_id_and_body
from events.read_models import ReadModels, Seen
from events.staleness import boot_time
from events.work import WorkBoard
from storage.store import StorageError

_logger = structlog.get_logger()
STOPS: Final = {BatchCancelRequested.__name__, BatchExpiryReached.__name__}
ENDS: Final = {*STOPS, BatchFinalizing.__name__}
INPUTS_HELD: Final = 16
"""Batches whose line index a worker keeps at hand."""
LAST_WORDS: Final = 2.0
"""Seconds that the last flush of a worker that stops may take, and then its leave."""
CHUNKS: Final = 64
"""Chunks in hand at once, or one for each line under way where these are more: a line that waits for another
try keeps its chunk, and must keep no other from running."""
TURN: Final = 120.0
"""Seconds that a message waits for room. With `yield_after` and a line's time-out this stays below the half
hour after which a broker takes whoever answers nothing about a message for dead."""
LONE_DEATHS: Final = 2
"""Deaths of a suspect while it ran alone after which it is not run again."""


class _Held(NamedTuple):
    """What is kept of a batch from one chunk to the next."""

    inputs: InputLines
    traceparent: str | None


class Worker:
    """Runs chunks of every route it has a lane for."""

    def __init__(
        self,
        board: WorkBoard,
        models: ReadModels,
        bus: Bus,
        inputs: Callable[[Seen[Batch]], InputLines],
        recorder: Recorder,
        options: EngineOptions,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self._board = board
        self._models = models
        self._bus = bus
        self._inputs = inputs
        self._recorder = recorder
        self._options = options
        self._clock = clock
        self._id = ""
        self._confirmed = float("-inf")
        self._lanes: dict[str, Lane] = {}
        self._chunks = ChunksInHand(board)
        self._held_inputs: OrderedDict[str, _Held] = OrderedDict()
        self._intake = asyncio.Lock()
        self._claiming = False
        self._called_off: set[str] = set()
        self._stopping = False
        self._drain = Drain(options.drain)
        self._neighbours = Neighbours(board, options.lease, clock)
        self._subscriptions: list[Subscription] = []

    def alive(self) -> bool:
        """Whether nobody can have declared this worker dead yet: only then is anything sent."""
        return self._clock() - self._confirmed < self._options.lease - self._options.beat

    def serve(self, route: str, lane: Lane) -> None:
        """Runs the chunks of a route in a lane."""
        self._lanes[route] = lane

    @property
    def id(self) -> str:
        """What the work board calls it; empty while it is not registered."""
        return self._id

    def has_room(self, route: str, lines: int = 0) -> bool:
        """Whether it would begin a chunk of so many lines at once; 0: of as many as any has."""
        lane = self._lanes[route]
        ready = not (self._stopping or self._intake.locked() or lane.paused)
        return ready and lane.part(lines or self._options.chunk_lines) > 0

    async def run(self) -> None:
        """Works until cancelled; `stop` first, where there is time for it."""
        while not self._id:
            try:
                await self._register()
            except BatchmillError as error:
                _logger.warning("not registered yet", reason=str(error))
                await asyncio.sleep(self._options.beat)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            group.create_task(self._look_around())
            group.create_task(self._recorder.run())
            for lane in self._lanes.values():
                group.create_task(lane.run())
            self._bus.on_wake(self._noticed)
            for route in self._lanes:
                self._subscriptions.append(
                    await self._bus.take_work(
                        route, max(CHUNKS, self._options.concurrency), partial(self._take, route)
                    )
                )

    async def stop(self) -> None:
        """Takes nothing more, lets what is under way end within the drain time, records it, and gives the
        rest back."""
        self._stopping = True
        self._chunks.stop_all()
        await asyncio.gather(
            self._drain.until(self._chunks.emptied()), *(taking.cancel() for taking in self._subscriptions)
        )
        if self._chunks:
            _logger.warning("drain time is over", chunks=len(self._chunks))
            await self._record_the_last()
        self._chunks.abort_all()
        leaving, self._id = self._id, ""
        if leaving:
            try:
                async with asyncio.timeout(LAST_WORDS):
                    await self._board.leave(leaving)
            except (BatchmillError, TimeoutError) as error:
                why = str(error) or "no answer in time"
                _logger.warning("could not leave; others take over", worker=leaving, reason=why)

    def hurry(self) -> None:
        """Ends the drain time of a `stop`, also of one to come."""
        self._drain.hurry()

    async def _record_the_last(self) -> None:
        """What was answered and waits for its flush; a database that is away gets no more than a moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._recorder.emptied()

    async def _take(self, route: str, work: Work) -> None:
        """Runs one chunk from claim to hand-back."""
        chunk = await self.begin(route, work)
        if chunk is not None:
            await self.see_through(chunk)

    async def begin(self, route: str, work: Work) -> Chunk | None:
        """Claims a chunk and reads its lines into the route's lane; None where there is nothing to run.

        Claims are taken one after the other, each only when the lane has room, so that a death is blamed on
        what was really running. A suspect holds the intake for as long as it runs, and begins when nothing
        else is in hand.
        """
        lane = self._lanes[route]
        most = await self._turn(lane, work)
        if not most:
            return None
        try:
            chunk = None if self._stopping else await self._claim(lane, work, most)
            if chunk is None:
                return None
            try:
                await self._feed(chunk, lane)
            except BaseException:
                self._chunks.let_go(chunk)
                raise
            if work.suspect:
                await self.see_through(chunk)
                return None
            return chunk
        finally:
            self._intake.release()

    async def _turn(self, lane: Lane, work: Work) -> int:
        """Takes the intake when it is this chunk's turn: how many lines of it are to be taken. 0 where its
        turn has not come in time: the chunk lies free, and is offered again."""
        try:
            async with asyncio.timeout(TURN):
                await lane.opened()
                await self._intake.acquire()
                try:
                    if work.suspect:
                        await self._chunks.emptied()
                    return await lane.room_for(work.lines or self._options.chunk_lines)
                except BaseException:
                    self._intake.release()
                    raise
        except TimeoutError:
            return 0

    async def _claim(self, lane: Lane, work: Work, most: int) -> Chunk | None:
        """Takes a chunk in hand, at most so many lines of it where it is whole; one that was called off while
        it was being claimed is stopped at once. Where its lines are does not change and is read meanwhile."""
        self._claiming = True
        self._called_off.clear()
        claimant = self._id
        try:
            claim, held = await asyncio.gather(
                self._board.claim(work.claim_id, claimant, most),
                self._inputs_of(work),
                return_exceptions=True,
            )
            if isinstance(claim, BaseException):
                raise claim
            if claim is None:
                return None
            if claim.lines < work.lines:
                await self._bus.announce([Notice(claim.batch_id, LEFT, 0)])
            if isinstance(held, BaseException):
                raise held
            other = claim.batch_id != work.batch_id or (claim.suspect and not work.suspect)
            if claimant != self._id or other:
                # Declared dead meanwhile, so that others may have run these lines; or not what was offered:
                # to be run alone, or of another batch, after a crash of the database that undid a hand-out.
                await self._board.hand_back([claim])
                return None
            deadline = time.monotonic() + claim.expires_in
            chunk = Chunk(claim, claimant, held.inputs.endpoint, deadline, held.traceparent)
            self._chunks.take(chunk, lane)
            if self._stopping or chunk.batch_id in self._called_off:
                lane.stop(chunk, last_call=chunk.batch_id in self._called_off)
            return chunk
        finally:
            self._claiming = False

    async def _feed(self, chunk: Chunk, lane: Lane) -> None:
        """Reads the lines of a chunk into its lane, as many at once as there is room for."""
        lines = chunk.claim.open_lines()
        unread = len(lines)
        try:
            async for window in self._held_inputs[chunk.batch_id].inputs.windows(lines):
                await lane.room(chunk)
                if chunk.stopping:
                    break
                jobs = [Job(chunk, line, *custom_id_and_body(raw)) for line, _, raw in window]
                unread -= len(jobs)
                if chunk.claim.suspect and chunk.claim.deaths >= LONE_DEATHS:
                    for job in jobs:
                        lane.lose_worker(job)
                else:
                    lane.put(jobs)
        except (BatchmillError, StorageError) as error:
            _logger.warning("input cannot be read", batch=chunk.batch_id, reason=str(error))
            lane.stop(chunk)
            await say_why(self._board, chunk.batch_id, f"input cannot be read: {error}")
        finally:
            chunk.settle(unread)

    async def _inputs_of(self, work: Work) -> _Held:
        """Where the lines of a chunk are; mostly at hand from the chunk before."""
        held = self._held_inputs.pop(work.batch_id, None)
        if held is None:
            seen = await self._models.get(Batch, work.batch_id)
            held = _Held(self._inputs(seen), seen.state.traceparent)
        self._held_inputs[work.batch_id] = held
        if len(self._held_inputs) > INPUTS_HELD:
            self._held_inputs.popitem(last=False)
        with suppress(BatchmillError):  # to be met again where the line is read, and told there
            await held.inputs.find(work.first_line)
        return held

    async def see_through(self, chunk: Chunk) -> None:
        """Returns when nothing of a chunk is under way any more; what is open of it is handed back."""
        try:
            await chunk.settled()
        finally:
            self._chunks.let_go(chunk)
        if chunk.stopping and not chunk.lost:
            await self._board.hand_back([chunk.claim])
        await at("work.ack")

    def _noticed(self, notices: Sequence[Notice]) -> None:
        """Reacts at once to what was announced; the next beat finds what was not."""
        for notice in notices:
            if notice.type in ENDS:
                self._called_off.add(notice.stream_id)
            if notice.type in STOPS:
                self._chunks.stop(notice.stream_id)
            elif notice.type == BatchFinalizing.__name__:
                self._chunks.abort(notice.stream_id)

    async def _register(self) -> None:
        id = "w_" + secrets.token_hex(8)
        before = self._clock()
        await self._board.register(id)
        self._id, self._confirmed = id, before
        _logger.info("registered", worker=id)

    async def _beat(self) -> None:
        """Until it leaves; it has no id any more then."""
        while await self._here_after_a_beat():
            try:
                # Short enough for a second try, on another connection, while nobody misses this worker yet.
                async with asyncio.timeout((self._options.lease - self._options.beat) / 2):
                    await self._prove_life()
            except (BatchmillError, TimeoutError) as error:
                self._neighbours.forget()  # where nobody can beat, a beat that stands still means nothing
                _logger.warning("beat failed", worker=self._id, reason=str(error) or "no answer in time")

    async def _look_around(self) -> None:
        """Once a beat, and apart from it: an answer that does not come must not keep it from beating."""
        while await self._here_after_a_beat():
            try:
                async with asyncio.timeout(self._options.lease):
                    await self._give_up_unknown_claims()
                    await self._chunks.look_at_batches()
                    self._chunks.yield_older_than(self._options.yield_after)
                    await self._neighbours.look(self._id)
            except (BatchmillError, TimeoutError) as error:
                self._neighbours.forget()
                _logger.warning("board not seen", worker=self._id, reason=str(error) or "no answer in time")

    async def _here_after_a_beat(self) -> bool:
        await asyncio.sleep(self._options.beat)
        return bool(self._id)

    async def _prove_life(self) -> None:
        before = self._clock()
        if await self._board.beat(self._id, self._pauses()):
            self._confirmed = before
        elif self._id:
            _logger.warning("declared dead", worker=self._id, chunks=len(self._chunks))
            self._chunks.abort_all()
            await self._register()
        for lane in self._lanes.values():
            lane.pump()

    async def _give_up_unknown_claims(self) -> None:
        unknown = await self._chunks.unknown_claims(self._id)
        if unknown and not self._claiming:
            _logger.warning("claims given up", worker=self._id, claims=len(unknown))
            await self._board.hand_back(unknown)

    def _pauses(self) -> dict[str, str]:
        """Which routes are paused here, and why."""
        return {route: lane.paused for route, lane in self._lanes.items() if lane.paused is not None}
