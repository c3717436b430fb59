"""A fleet whose every connection goes through a proxy of its own process, and bad weather from a seed."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal, get_args

from tests.chaos.checker import Trouble
from tests.chaos.proxy import Passage, Place, Proxy, place_of, proxy_to, through
from tests.postgres import Database

Service = Literal["database", "broker", "upstream"]
Kind = Literal["cut", "stall", "stall and cut", "slow", "half-close"]
SLOWLY: Final = 0.1
"""Seconds that a piece takes more on a slow connection."""
PAUSE: Final = (0.05, 0.45)
"""Seconds from one blow to the next."""


@dataclass(frozen=True)
class Blow:
    """What the weather does to a process's connections to one service: to all of them, and new ones, or to
    the one at `pick` of the way from the oldest to the newest. What lasts, lasts for `seconds`."""

    after: float
    process: str
    service: Service
    kind: Kind
    pick: float | None
    seconds: float


def weather(chance: random.Random, processes: Sequence[str], lasting: tuple[float, float]) -> Iterator[Blow]:
    """Blow after blow, without an end."""
    while True:
        yield Blow(
            after=chance.uniform(*PAUSE),
            process=chance.choice(processes),
            service=chance.choice(get_args(Service)),
            kind=chance.choice(get_args(Kind)),
            pick=chance.choice((None, chance.random())),
            seconds=chance.uniform(*lasting),
        )


class Network:
    """All proxies of an installation: one for each process and service."""

    def __init__(
        self, proxies: Mapping[tuple[str, Service], Proxy], database: Database, broker: str, upstream: str
    ) -> None:
        self._proxies = proxies
        self._database = database
        self._broker = broker
        self._upstream = upstream
        self.blows: list[Blow] = []

    def settings(self, process: str) -> dict[str, str]:
        """The ways of a process to the services, as its settings."""
        return {
            "database_url": through(self._proxies[process, "database"], self._database.app_url),
            "database_owner_url": through(self._proxies[process, "database"], self._database.owner_url),
            "amqp_url": through(self._proxies[process, "broker"], self._broker),
            "upstream_url": through(self._proxies[process, "upstream"], self._upstream),
        }

    @property
    def troubles(self) -> list[Trouble]:
        """What connections to the upstream have met with."""
        ways = [proxy for (_, service), proxy in self._proxies.items() if service == "upstream"]
        return [trouble for proxy in ways for trouble in proxy.troubles]

    def stall(self) -> None:
        """Nothing comes through any more, to or from anybody."""
        for proxy in self._proxies.values():
            proxy.stall()

    @asynccontextmanager
    async def under(self, blows: Iterable[Blow]) -> AsyncIterator[None]:
        """Has the weather blow while the block runs; then all is well."""
        blowing = asyncio.create_task(self._blow(blows))
        try:
            yield
        finally:
            blowing.cancel()
            with suppress(asyncio.CancelledError):
                await blowing
            for proxy in self._proxies.values():
                proxy.go_on()

    async def _blow(self, blows: Iterable[Blow]) -> None:
        async with asyncio.TaskGroup() as group:
            for blow in blows:
                await asyncio.sleep(blow.after)
                for met in self._met_by(blow):
                    group.create_task(_suffer(blow, met))
                self.blows.append(blow)

    def _met_by(self, blow: Blow) -> Sequence[Proxy | Passage]:
        proxy = self._proxies[blow.process, blow.service]
        if blow.pick is not None:
            return proxy.passages[int(blow.pick * len(proxy.passages)) :][:1]
        lasting = blow.kind.startswith("stall")
        return [proxy] if lasting or blow.kind == "cut" else list(proxy.passages)


async def _suffer(blow: Blow, met: Proxy | Passage) -> None:
    """One blow from its beginning to its end."""
    match blow.kind, met:
        case "cut", _:
            met.cut()
            return
        case "half-close", Passage():
            met.half_close()
            return
        case "slow", Passage():
            met.slow(SLOWLY)
        case _:
            met.stall()
    await asyncio.sleep(blow.seconds)
    if blow.kind == "stall and cut":
        met.cut()
    met.go_on()


@asynccontextmanager
async def network(
    processes: Sequence[str], database: Database, broker: str, upstream: str
) -> AsyncIterator[Network]:
    """The proxies of some processes, for as long as the block runs."""
    places: dict[Service, Place] = {
        "database": place_of(database.app_url),
        "broker": place_of(broker),
        "upstream": place_of(upstream),
    }
    async with AsyncExitStack() as closing:
        proxies = {
            (process, service): await closing.enter_async_context(proxy_to(place))
            for process in processes
            for service, place in places.items()
        }
        yield Network(proxies, database, broker, upstream)
