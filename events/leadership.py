"""One leader at a time, by a lease that others watch.

    following ──lease seen unchanged for its whole length──▶ leading
        ▲                                                       │
        └──────beat refused, or not confirmed in time───────────┘

The leadership is a row with a random token and a beat. Whoever saw the same beat for one whole lease,
during which its own reads succeeded, takes over with a new token; every write of a leader checks the
token, so a thawed former leader can write nothing. (River's lease row with a term, with the observer's
clock in place of the database's.)
"""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from events.errors import BatchmillError, LeadershipLost
from events.log import Leadership
from events.staleness import Watch
from events.work import WorkBoard

_logger = structlog.get_logger()


class Candidate:
    """Wants to lead under `name`; runs `lead` while it does."""

    def __init__(
        self,
        name: str,
        board: WorkBoard,
        lead: Callable[[Leadership], Awaitable[None]],
        *,
        lease: float,
        beat: float,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._board = board
        self._lead = lead
        self._lease = lease
        self._beat = beat
        self._clock = clock
        self._leadership: Leadership | None = None
        self._confirmed = float("-inf")

    @property
    def leading(self) -> bool:
        """Whether it leads, as far as it knows."""
        return self._leadership is not None

    @property
    def sure(self) -> bool:
        """Whether it leads, and the database has said so within half a lease."""
        return self.leading and self._clock() - self._confirmed <= self._lease / 2

    async def run(self) -> None:
        """Stands for the leadership until cancelled, then steps down. A database that is away costs the
        leadership, not the candidate; what `lead` raises beyond that ends the run."""
        while True:
            leadership = await self._won()
            await self._serve_term(leadership)
            await asyncio.sleep(self._beat)  # so that what fails at once is not tried without a rest

    async def _serve_term(self, leadership: Leadership) -> None:
        """Leads until that fails, then steps down. In a task of its own: before Python 3.13 a group that
        ends with errors hides a cancellation that comes at the same moment."""
        self._leadership = leadership
        _logger.info("leading", leadership=self._name)
        leading = asyncio.create_task(self._lead_while_kept(leadership))
        try:
            await asyncio.wait({leading})
        finally:
            leading.cancel()
            await asyncio.wait({leading})
            self._leadership = None
            await asyncio.shield(self._step_down(leadership))
        leading.result()

    async def _lead_while_kept(self, leadership: Leadership) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep(leadership))
                group.create_task(self._run_lead(leadership))
        except* BatchmillError as errors:
            _logger.warning("leadership ended", leadership=self._name, reason=_first(errors))

    async def _run_lead(self, leadership: Leadership) -> None:
        await self._lead(leadership)
        raise LeadershipLost(f"leadership {self._name} was given up")

    async def _won(self) -> Leadership:
        watch: Watch[tuple[UUID, int] | None] = Watch(self._lease)
        while True:
            try:
                observed = await self._board.observe(self._name)
                if observed is None or watch.stale(observed, self._clock()):
                    leadership = await self._board.take_leadership(self._name, observed)
                    if leadership is not None:
                        return leadership
            except BatchmillError as error:
                watch.forget()
                _logger.warning("cannot see who leads", leadership=self._name, reason=str(error))
            await asyncio.sleep(self._beat)

    async def _keep(self, leadership: Leadership) -> None:
        self._confirmed = self._clock()
        while True:
            await asyncio.sleep(self._beat)
            try:
                # Short enough for a second try, on another connection, while the lease lasts.
                async with asyncio.timeout((self._lease - self._beat) / 2):
                    held = await self._board.beat_leadership(leadership)
            except (BatchmillError, TimeoutError) as error:
                if self._clock() - self._confirmed > self._lease:
                    raise LeadershipLost(
                        f"leadership {self._name} could not be confirmed: {error or 'no answer in time'}"
                    ) from error
                continue
            if not held:
                raise LeadershipLost(f"leadership {self._name} was taken over by another process")
            self._confirmed = self._clock()

    async def _step_down(self, leadership: Leadership) -> None:
        try:
            async with asyncio.timeout(self._beat):
                await self._board.leave_leadership(leadership.name, leadership.token)
        except (BatchmillError, TimeoutError) as error:
            why = str(error) or "no answer in time"
            _logger.warning("could not step down; the lease runs out", reason=why)


def _first(errors: BaseExceptionGroup[BaseException]) -> str:
    """What the first failure says: that of a group says nothing."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else str(error)
