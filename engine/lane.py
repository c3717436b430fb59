"""One route in one worker: sends lines, tries them again, and makes outcomes of what came back.

    queued ──slot free──▶ under way ──answer that ends the line──▶ recorded (by the recorder)
       ▲                     │
       └──wait is over───waiting for another try, or for the route (holds no slot)

A slot sends one line at a time. Nothing is sent while the route is paused, the worker's lease is in doubt,
or more answers are held than may be.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from engine.answer import InvalidResponse, Reply, conclude, error_line, line_id, output_line
from engine.chunk import Chunk, Job
from engine.concurrency import ConcurrencyLimit
from engine.options import EngineOptions
from engine.pace import Pace
from engine.recorder import Recorder
from engine.retry import RetryBudget, RetryPolicy, Verdict, judge, next_try, retry_after
from engine.route_watch import RouteWatch
from engine.upstream import Answer, Upstream, UpstreamFailure
from events.batch import Usage
from events.failpoint import at
from events.outcomes.lines import ERROR_CODES, WORKER_LOST, LineOutcome

Result = Reply | InvalidResponse | UpstreamFailure
_STATUSES: Final = {code: status for status, code in ERROR_CODES.items()}
_NO_USAGE: Final = Usage()
ANSWER_SHARE: Final = 0.6
"""Of the memory for answers in flight, what the answers themselves may fill; the rest is for the copies made
of them: joined, compressed, on their way to the database."""
BYTES_AHEAD: Final = 16 << 20
"""Bytes of bodies that are queued or wait for another try above which no more lines are read, however few
they are."""


class _Slot:
    """What one send at a time runs in."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.task: asyncio.Task[None] | None = None


class Lane:
    """Runs the lines of chunks that are put into it; `run` must be running."""

    def __init__(
        self,
        upstream: Upstream,
        watch: RouteWatch,
        recorder: Recorder,
        options: EngineOptions,
        *,
        alive: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._watch = watch
        self._recorder = recorder
        self._options = options
        self._alive = alive
        self._clock = clock
        self._policy = RetryPolicy(attempts=options.attempts)
        self._budget = RetryBudget(
            clock(),
            share=options.retry_share,
            per_second=options.retry_floor,
            burst=10.0 * options.retry_floor,
        )
        self._limit = ConcurrencyLimit(options.concurrency)
        self._queue: deque[Job] = deque()
        self._queued_bytes = 0
        self._waiting_bytes = 0
        self._pace = Pace(options.concurrency)
        self._slots: set[_Slot] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._under_way = 0
        self._expected_answer = 0
        self._answer_room = options.answers_in_flight * ANSWER_SHARE
        self._room = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        recorder.on_room(self.pump)

    async def run(self) -> None:
        """Sends until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._open_again())
            for _ in range(self._options.concurrency):
                self._start_slot()

    def put(self, jobs: Sequence[Job]) -> None:
        """Takes lines to run."""
        self._queue.extend(jobs)
        self._queued_bytes += sum(len(job.body) for job in jobs)
        self.pump()

    async def room(self, chunk: Chunk) -> None:
        """Returns when so little is queued that more should be read, or when `chunk` is stopping."""
        while self.crowded and not chunk.stopping:
            self._room.clear()
            await self._room.wait()

    async def room_for(self, lines: int) -> int:
        """Returns when something of a chunk of so many lines should be taken: how many lines."""
        while not (part := self.part(lines)):
            self._room.clear()
            await self._room.wait()
        return part

    def part(self, lines: int) -> int:
        """How many lines should be taken now of a chunk of so many."""
        return 0 if self._heavy else self._pace.part(lines, self._free)

    @property
    def crowded(self) -> bool:
        """Whether so much is queued that no more should be read."""
        return self._free + self._pace.ahead <= 0 or self._heavy

    @property
    def _free(self) -> int:
        """Slots that nothing is queued for; negative: lines that are queued for no free slot."""
        return self._limit.limit - self._under_way - len(self._queue)

    @property
    def _heavy(self) -> bool:
        return self._queued_bytes + self._waiting_bytes >= BYTES_AHEAD

    @property
    def paused(self) -> str | None:
        """Why its route is paused, if so."""
        return self._watch.reason

    async def opened(self) -> None:
        """Returns as soon as the route is not paused."""
        await self._watch.opened()

    def stop(self, chunk: Chunk, *, last_call: bool = False) -> None:
        """Sends no more lines of a chunk; those under way go on. See `Chunk.stop`."""
        chunk.stop(last_call=last_call)
        dropped = [job for job in self._queue if job.chunk is chunk]
        if dropped:
            self._queue = deque(job for job in self._queue if job.chunk is not chunk)
            self._queued_bytes -= sum(len(job.body) for job in dropped)
            chunk.settle(len(dropped))
        self._room.set()
        self.pump()

    def abort(self, chunk: Chunk) -> None:
        """Forgets a chunk whose claim is void, what is under way included."""
        chunk.lose()
        self.stop(chunk)
        for slot in [s for s in self._slots if s.job is not None and s.job.chunk is chunk]:
            if slot.task is not None:
                slot.task.cancel()
                self._slots.discard(slot)
                self._start_slot()

    def pump(self) -> None:
        """Wakes as many idle slots as there are lines that may be sent; called whenever that may change."""
        ready = min(len(self._queue), len(self._idle), self._limit.limit - self._under_way)
        while ready > 0:
            future = self._idle.popleft()
            if not future.done():
                future.set_result(None)
                ready -= 1
        if not self.crowded:
            self._room.set()

    def lose_worker(self, job: Job) -> None:
        """Gives a line that killed its worker too often the outcome that says so."""
        message = f"The worker that ran this request died {job.chunk.claim.deaths} times while it ran alone."
        self._record(job, WORKER_LOST, _NO_USAGE, "worker_lost", message, b"")

    def _start_slot(self) -> None:
        if self._group is not None:
            slot = _Slot()
            self._slots.add(slot)
            slot.task = self._group.create_task(self._run_slot(slot))

    async def _run_slot(self, slot: _Slot) -> None:
        while True:
            job = self._next()
            if job is None:
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(future)
                await future
                continue
            slot.job = job
            await self._send(job)
            slot.job = None

    def _next(self) -> Job | None:
        while self._queue and self._queue[0].chunk.lost:
            self._queued_bytes -= len(self._queue.popleft().body)
        if not self._queue or not self._may_send():
            if not self.crowded:
                self._room.set()
            return None
        job = self._queue.popleft()
        self._queued_bytes -= len(job.body)
        if not self.crowded:
            self._room.set()
        return job

    def _may_send(self) -> bool:
        held = self._recorder.held_bytes + self._under_way * self._expected_answer
        return (
            self._under_way < self._limit.limit
            and (held < self._answer_room or self._under_way == 0 == self._recorder.held_bytes)
            and self._watch.reason is None
            and self._alive()
        )

    async def _send(self, job: Job) -> None:
        job.attempts += 1
        if job.attempts == 1:
            self._budget.sent()
        await at("send.before")
        answer: Answer | None = None
        result: Result
        job.sent = self._clock()
        self._under_way += 1
        try:
            answer = await self._upstream.send(job.chunk.path, job.body, timeout=self._options.line_timeout)
            result = conclude(answer, random.getrandbits)
            self._expected_answer = max(len(answer.body), self._expected_answer * 15 // 16)
        except UpstreamFailure as failure:
            result = failure
        finally:
            self._under_way -= 1
        await at("send.after")
        verdict = judge(result)
        now = self._clock()
        self._pace.took(now - job.sent)
        self._limit.ended(job.sent, now, congested=verdict.rule.congested)
        if isinstance(result, Reply) and result.success:
            self._watch.succeeded()
            self._finish(job, result, verdict)
        else:
            asked = None if answer is None else retry_after(answer.headers, time.time())
            self._consider(job, result, verdict, asked)
        if self._idle:
            self.pump()
        if not (self._under_way or self._queue):
            self._recorder.hurry()

    def _consider(self, job: Job, result: Result, verdict: Verdict, asked: float | None) -> None:
        """Lets a failed try wait for its verdict outside of its slot."""
        chunk = job.chunk
        if chunk.last_call or (chunk.stopping and not verdict.rule.retry):
            self._finish(job, result, verdict)
            return
        if self._group is None or chunk.stopping:
            chunk.settle(1)
            return
        task = self._group.create_task(self._try_again(job, result, verdict, asked))
        chunk.waiting.add(task)
        self._waiting_bytes += len(job.body)

        def ended(task: asyncio.Task[None]) -> None:
            chunk.waiting.discard(task)
            self._waiting_bytes -= len(job.body)
            if task.cancelled():
                chunk.settle(1)

        task.add_done_callback(ended)

    async def _try_again(self, job: Job, result: Result, verdict: Verdict, asked: float | None) -> None:
        standing = await self._watch.failed(job.chunk.batch_id, verdict)
        if job.tries.counts(standing):
            now = self._clock()
            when = next_try(
                verdict,
                job.tries.counted,
                retry_after=asked,
                now=now,
                deadline=job.chunk.deadline,
                random=random.random,
                policy=self._policy,
            )
            if when is None:
                self._finish(job, result, verdict)
                return
            await asyncio.sleep(when - now + self._budget.take(now))
        await self._watch.opened()
        self._queue.appendleft(job)
        self._queued_bytes += len(job.body)
        self.pump()

    def _finish(self, job: Job, result: Result, verdict: Verdict) -> None:
        if isinstance(result, Reply):
            self._record(job, result.status, result.usage, None, result.request_id, result.body)
        else:
            code = verdict.rule.code or "connection_error"
            self._record(job, _STATUSES[code], _NO_USAGE, code, verdict.message, b"")

    def _record(self, job: Job, status: int, usage: Usage, code: str | None, text: str, body: bytes) -> None:
        """`text` is the request id where there is an answer, else the error's message."""
        id = line_id(job.chunk.batch_id, job.line)
        if code is None:
            line = output_line(id, job.custom_id_json, status, text, body)
        else:
            line = error_line(id, job.custom_id_json, code, text)
        seconds = self._clock() - job.sent if job.sent else 0.0
        self._recorder.add(
            job.chunk,
            LineOutcome(job.line, status, job.attempts, usage, time.time() - seconds, seconds, line),
        )

    async def _open_again(self) -> None:
        """Starts sending again when a pause of the route ends."""
        while True:
            await self._watch.changed()
            self.pump()
