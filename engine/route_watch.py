"""Keeps watch over one route: asks the probes that its health wants, and wakes whoever waits for them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import structlog

from engine.retry import Verdict
from engine.routes import ModelList, PausePolicy, Probe, RouteHealth, Standing, read_probe
from engine.upstream import ModelsAnswer, Upstream, UpstreamFailure

_log = structlog.get_logger()


class RouteWatch:
    """The edge around `RouteHealth` and `ModelList`.

    `run` must be running, in a task whose owner notices its end: it is what ends the waits of the others.
    """

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        policy: PausePolicy | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._name = name
        self._upstream = upstream
        self._clock = clock
        self._health = RouteHealth(upstream.url, policy or PausePolicy())
        self._models = ModelList()
        self._changed = asyncio.Event()

    @property
    def reason(self) -> str | None:
        """Why the route is paused, for whoever waits; None while it is open."""
        return self._health.reason

    def succeeded(self) -> None:
        """A line succeeded."""
        self._health.succeeded()

    async def failed(self, batch_id: str, verdict: Verdict) -> Standing:
        """A try of a line failed. Answers, after a probe where one is needed, whether the route was down."""
        before = self._health.reason
        doubt = self._health.failed(self._clock(), batch_id, verdict)
        self._tell(before)
        while (standing := self._health.standing(doubt)) is Standing.UNKNOWN:
            await self._changed.wait()
        return standing

    async def opened(self) -> None:
        """Returns as soon as the route is not paused."""
        while self._health.reason is not None:
            await self._changed.wait()

    async def changed(self) -> None:
        """Returns when the route has paused, resumed, or been probed."""
        await self._changed.wait()

    async def known_models(self) -> frozenset[str] | None:
        """Every model the upstream answers to, read within a minute; None where that is not sure."""
        if self._models.known(self._clock()) is None and self._health.reason is None:
            probe = await self._ask()
            self._models.read(self._clock(), probe.models)
        return self._models.known(self._clock())

    async def run(self) -> None:
        """Asks every probe when it is due, until it is cancelled."""
        while True:
            at = self._health.probe_at()
            wait = None if at is None else at - self._clock()
            if wait is not None and wait <= 0:
                await self._probe()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def _probe(self) -> None:
        before = self._health.reason
        self._health.probe_started()
        probe = await self._ask()
        now = self._clock()
        self._health.probe_ended(now, probe)
        self._models.read(now, probe.models)
        self._tell(before)

    async def _ask(self) -> Probe:
        result: ModelsAnswer | UpstreamFailure
        try:
            result = await self._upstream.models()
        except UpstreamFailure as failure:
            result = failure
        return read_probe(result, self._upstream.url)

    def _tell(self, before: str | None) -> None:
        """Wakes everyone who waits for a change, and logs a pause when it begins and ends."""
        after = self._health.reason
        if before is None and after is not None:
            _log.warning("route paused", route=self._name, reason=after)
        elif before is not None and after is None:
            _log.info("route resumed", route=self._name)
        self._changed.set()
        self._changed = asyncio.Event()
