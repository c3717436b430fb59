"""A Batchmill of many processes: one `batchmill api` and any number of `batchmill worker`."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final

from events.audit.note import PrivateKey
from tests.chaos.mill import BOUND, PATIENCE, Mill
from tests.postgres import Database

LEADING: Final = '"event": "leading"'
AUDIT_KEY: Final = PrivateKey("fleet", bytes(range(32)))
"""Given to every process, as a secret is to pods."""


class Api(Mill):
    """A process that serves the API and nothing else."""

    COMMAND: ClassVar = "api"


class Worker(Mill):
    """A process that runs batches and has no API."""

    COMMAND: ClassVar = "worker"
    READY: ClassVar = re.compile(r'"event": "working"')

    @property
    def leads(self) -> bool:
        """Whether it leads, as far as it has said."""
        words = [line for line in self.said if LEADING in line or '"event": "leadership ended"' in line]
        return self.running and bool(words) and LEADING in words[-1]


class Fleet:
    """All processes of one installation."""

    def __init__(self, api: Api, workers: list[Worker]) -> None:
        self.api = api
        self.workers = workers

    @property
    def everybody(self) -> list[Mill]:
        """The API's process and the workers'."""
        return [self.api, *self.workers]

    async def leader(self) -> Worker:
        """The worker that leads, as soon as one does."""
        async with asyncio.timeout(BOUND):
            while True:
                for worker in self.workers:
                    if worker.leads:
                        return worker
                await asyncio.sleep(PATIENCE)

    def restarted(self) -> int:
        """How often any of them was started again."""
        return sum(one.starts - 1 for one in self.everybody)


@asynccontextmanager
async def fleet(
    folder: Path,
    upstream: str,
    database: Database,
    broker: str | None,
    settings: Mapping[str, str],
    roles: Sequence[str] = ("lead,plan,run", "lead,plan,run"),
    own: Callable[[str], Mapping[str, str]] = lambda name: {},
) -> AsyncIterator[Fleet]:
    """A running fleet; `roles` are those of each worker, `own` gives each process more settings by its name.
    Each worker signs what it sends with its name."""
    files, audit_key = folder / "files", folder / "audit-key"
    files.mkdir()
    audit_key.write_text(f"{AUDIT_KEY.text}\n")
    shared = {
        "database_url": database.app_url,
        "database_owner_url": database.owner_url,
        "storage_url": files.as_uri(),
        "audit_key_file": str(audit_key),
        **({} if broker is None else {"amqp_url": broker}),
        **settings,
    }
    async with AsyncExitStack() as closing:
        api = Api(folder / "api", upstream, {**shared, **own("api")})
        crew = [
            Worker(folder / name, upstream, {**shared, "roles": its, "upstream_api_key": name, **own(name)})
            for name, its in ((f"worker-{n}", its) for n, its in enumerate(roles))
        ]
        for one in (api, *crew):
            closing.push_async_callback(one.close)
        await asyncio.gather(*(one.start() for one in (api, *crew)))
        yield Fleet(api, crew)
