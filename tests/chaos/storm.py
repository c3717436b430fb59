"""A storm over a fleet: processes killed one after the other, its broker and its database under it as well.

What strikes whom and when is a pure function of a seed (`plan_of`); `Storm` carries it out as an unkind world
would, and starts again what it killed as an orchestrator would.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from signal import SIGKILL
from typing import Final

import asyncpg

from events.database import LOST
from tests.chaos.checker import Kill
from tests.chaos.fleet import Fleet
from tests.chaos.mill import BOUND, ENDED, PATIENCE, Mill, Polls
from tests.postgres_node import PostgresNode
from tests.rabbit_node import RabbitNode

PACE: Final = 2.0
"""Seconds between two kills of a process, unless a plan says otherwise."""
DOWN: Final = 1.0
"""Seconds after its death at which a process is started again."""
MOMENT: Final = 0.1
"""Seconds within which a phase that is short is struck."""
LOOK: Final = 0.02
"""Seconds between two looks at the phase."""
_PHASE: Final = "SELECT phase FROM batch_work"


class Service(StrEnum):
    """What happens to that on which the processes stand."""

    BROKER_KILLED = "broker killed"
    BROKER_WIPED = "broker wiped"
    DATABASE_KILLED = "database killed"


@dataclass(frozen=True)
class Plan:
    """What strikes.

    All workers die at once `at_planning` seconds after the batch was seen in that phase, and so with
    `at_finalizing`. In between, from when everybody is up again, a process dies every `pace` seconds, in turn
    one of `victims`; `services` happen with some of these kills, by number, and last for so many seconds.
    """

    seed: int
    victims: Sequence[str]
    services: Mapping[int, tuple[Service, float]]
    at_planning: float
    at_finalizing: float
    pace: float


def plan_of(
    seed: int,
    names: Sequence[str],
    services: Sequence[Service],
    *,
    kills: int,
    over: range,
    pace: float = PACE,
    moment: float = MOMENT,
) -> Plan:
    """The storm of a seed: `services` happen in any order, spread over those of the `kills`; planning and
    finalizing are struck within a `moment`."""
    dice = random.Random(seed)
    shuffled = dice.sample(services, len(services))
    edges = [n * len(over) // len(services) for n in range(len(services) + 1)]
    at = [over[dice.randrange(*between)] for between in pairwise(edges)]
    return Plan(
        seed=seed,
        victims=[dice.choice(names) for _ in range(kills)],
        services={n: (what, dice.uniform(0.0, 2.0)) for n, what in zip(at, shuffled, strict=True)},
        at_planning=dice.uniform(0.0, moment),
        at_finalizing=dice.uniform(0.0, moment),
        pace=pace,
    )


class Storm:
    """`kills` are those of workers, for the checker; `struck` counts everything by what it was; `phases` says
    in which phase of the batch processes were killed, None where it had ended; `gave_up` counts starts that
    failed because something was away; `unbidden` names who ended at work without being killed."""

    def __init__(self, plan: Plan, pods: Fleet, broker: RabbitNode, database: PostgresNode) -> None:
        self.kills: list[Kill] = []
        self.struck: Counter[str] = Counter()
        self.phases: Counter[str | None] = Counter()
        self.gave_up = 0
        self.unbidden: list[str] = []
        self._plan = plan
        self._pods = pods
        self._phase: str | None = "planning"
        self._services: Mapping[Service, Callable[[float], Awaitable[None]]] = {
            Service.BROKER_KILLED: self._kill_broker,
            Service.BROKER_WIPED: self._wipe_broker,
            Service.DATABASE_KILLED: self._kill_database,
        }
        self._broker = broker
        self._database = database
        self._one_at_a_time = asyncio.Lock()

    async def rage(self, polls: Polls, within: float) -> float:
        """Strikes from the making of a batch to its end; returns after how many seconds it had ended, with
        everything up again. Fails where that takes longer than `within`."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(one)) for one in self._pods.everybody]
            striking = [
                group.create_task(self._look_at_phase()),
                group.create_task(self._strike(group)),
                group.create_task(self._strike_all_at("finalizing", self._plan.at_finalizing)),
            ]
            await polls.until(lambda batch: batch["status"] in ENDED, within)
            took = time.monotonic() - began
            for task in striking:
                task.cancel()
            async with self._one_at_a_time:
                await self._everybody_up()
            for task in keepers:
                task.cancel()
        return took

    async def _everybody_up(self) -> None:
        async with asyncio.timeout(BOUND):
            while not all(one.begun and one.running for one in self._pods.everybody):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(PATIENCE)

    async def _strike(self, group: asyncio.TaskGroup) -> None:
        await self._strike_all_at("planning", self._plan.at_planning)
        await self._everybody_up()
        by_name = {one.name: one for one in self._pods.everybody}
        began = time.monotonic()
        for n, name in enumerate(self._plan.victims):
            await asyncio.sleep(began + self._plan.pace * n - time.monotonic())
            if n in self._plan.services:
                what, lasting = self._plan.services[n]
                self.struck[what] += 1
                group.create_task(self._happen(what, lasting))
            await self._kill(by_name[name])

    async def _strike_all_at(self, phase: str, delay: float) -> None:
        while self._phase != phase:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(LOOK)
        await asyncio.sleep(delay)
        await asyncio.gather(*(self._kill(one) for one in self._pods.workers))

    async def _kill(self, one: Mill) -> None:
        """Kills a process that lives: one that starts may be killed as well."""
        if not one.running:
            return
        self.phases[self._phase] += 1
        at = await one.kill()
        self.struck["api" if one is self._pods.api else "worker"] += 1
        if one is not self._pods.api:
            self.kills.append(Kill(at, who=one.name))

    async def _look_at_phase(self) -> None:
        """Asks the work board, for the API dies too."""
        while True:
            with suppress(*LOST):
                connection = await asyncpg.connect(self._database.database.superuser_url)
                try:
                    while True:
                        self._phase = await connection.fetchval(_PHASE)
                        await asyncio.sleep(LOOK)
                finally:
                    connection.terminate()
            await asyncio.sleep(LOOK)

    async def _keep(self, one: Mill) -> None:
        """Starts a process again whenever it has ended, and notes where it ended by itself."""
        async for status in one.deaths():
            if status != -SIGKILL:
                last_words = "\n".join(one.said[-20:])
                if one.begun or "cannot connect to database" not in last_words:
                    self.unbidden.append(f"{one.name} ended with {status}:\n{last_words}")
                self.gave_up += 1
            await asyncio.sleep(DOWN)
            await one.launch()

    async def _happen(self, what: Service, lasting: float) -> None:
        async with self._one_at_a_time:
            await self._services[what](lasting)

    async def _kill_broker(self, lasting: float) -> None:
        await self._broker.kill()
        await asyncio.sleep(lasting)
        await self._broker.start()

    async def _wipe_broker(self, lasting: float) -> None:
        await self._broker.wipe()

    async def _kill_database(self, lasting: float) -> None:
        await self._database.kill()
        await asyncio.sleep(lasting)
        await self._database.start()
