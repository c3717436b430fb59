"""Who is on the register of workers, as the database has it: for tests in which workers are struck off it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import asyncpg

from tests.chaos.checker import Kill
from tests.chaos.mill import Mill
from tests.postgres import Database

LOOK: Final = 0.02
"""Seconds between two looks."""


@dataclass(frozen=True)
class Strike:
    """A worker that was struck off: `seen_at` was it there for the last time, `gone_at` not any more."""

    worker_id: str
    seen_at: float
    gone_at: float


class Register:
    """Looks at the register all the time. Whoever is struck off it was silent for a lease, or has left, and
    what it had in hand may run again."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._strikes: list[Strike] = []
        self._task = asyncio.create_task(self._look())

    def strikes(self, since: float = 0.0) -> list[Strike]:
        """Those since then."""
        return [strike for strike in self._strikes if strike.seen_at >= since]

    def kills(self, workers: Sequence[Mill]) -> list[Kill]:
        """What the strikes mean to the lines of a batch."""
        return [Kill(strike.seen_at, who=_named(strike.worker_id, workers)) for strike in self._strikes]

    async def close(self) -> None:
        """Looks no more. Raises what ended it before."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _look(self) -> None:
        before: set[str] = set()
        seen_at = time.monotonic()
        while True:
            began = time.monotonic()
            now = {row["id"] for row in await self._connection.fetch("SELECT id FROM workers")}
            self._strikes += [Strike(id, seen_at, time.monotonic()) for id in before - now]
            before, seen_at = now, began
            await asyncio.sleep(LOOK)


@asynccontextmanager
async def register_of(database: Database) -> AsyncIterator[Register]:
    """The register, looked at while the block runs."""
    connection = await asyncpg.connect(database.superuser_url)
    register = Register(connection)
    try:
        yield register
    finally:
        await register.close()
        await connection.close()


def _named(id: str, workers: Sequence[Mill]) -> str | None:
    """The worker that was told of its striking off, if any was."""
    told = (
        worker.name for worker in workers for line in worker.said if id in line and "declared dead" in line
    )
    return next(told, None)
