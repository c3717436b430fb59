"""Installations for the benchmarks: `serve`, or one api and some workers over a broker; and an upstream.

Database, broker and upstream are those of the tests, with Batchmill's own defaults in place of the tests'
settings. The upstream keeps a ledger: when each line was sent, and when its answer went out.
"""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.embedded.postgres import LOGIN
from events.migrate import migrate
from tests.chaos.fleet import fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import Mill, mill, polling
from tests.postgres import PostgresServer
from tests.rabbit_node import RabbitNode, installed_server, running_node
from tests.shared_postgres import running_server
from tests.upstream import LedgerUpstream, ledger_upstream, visits

DEFAULTS = {
    "lease": "5s",
    "beat": "1s",
    "flush_interval": "250ms",
    "drain": "30s",
    "cancel_grace": "30s",
    "probe_interval": "5s",
    "probe_interval_max": "60s",
    "log_level": "info",
}


@dataclass(frozen=True, slots=True)
class Run:
    """A batch, in seconds of the machine's monotonic clock: the POST that made it, when its first line was
    sent, when its last answer went out, and when a client saw its end. `took` is what each line took at the
    upstream."""

    posted: float
    first: float
    last: float
    ended: float
    took: Sequence[float]

    @property
    def whole(self) -> float:
        """Seconds from the POST to the end."""
        return self.ended - self.posted

    def ideal(self, slots: int) -> float:
        """Seconds below which nobody runs these lines on so many slots: the longest, or all of them evenly on
        all slots, whichever is more."""
        return max(max(self.took), sum(self.took) / slots)

    @property
    def sending(self) -> float:
        """Seconds from the first line that was sent to the last answer."""
        return self.last - self.first


class Site:
    """A database server, a broker and an upstream, on which installations are made one after the other."""

    def __init__(
        self, folder: Path, server: PostgresServer, node: RabbitNode, upstream: LedgerUpstream, ledger: Path
    ) -> None:
        self.upstream = upstream
        self._folder = folder
        self._server = server
        self._node = node
        self._ledger = ledger
        self._made = 0

    @asynccontextmanager
    async def pods(self, workers: int, **settings: object) -> AsyncIterator["Installation"]:
        """One api and so many workers; `settings` as their names are in a TOML file."""
        given = DEFAULTS | {name: str(value) for name, value in settings.items()}
        async with self._server.new_database() as database, self._node.new_host() as broker:
            await migrate(database.owner_url, LOGIN)
            roles = ["lead,plan,run"] * workers
            running = fleet(self._new_folder(), self.upstream.url, database, broker, given, roles)
            async with running as pods:
                yield Installation(pods.api, self._ledger)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Installation"]:
        """Everything embedded, in one process group."""
        async with mill(self._new_folder(), self.upstream.url, **DEFAULTS) as serving:
            yield Installation(serving, self._ledger)

    def _new_folder(self) -> Path:
        self._made += 1
        folder = self._folder / f"installation-{self._made}"
        folder.mkdir()
        return folder


class Installation:
    """A running one, and a client of it."""

    def __init__(self, api: Mill, ledger: Path) -> None:
        self.api = api
        self._ledger = ledger

    async def run(self, seconds: Sequence[float]) -> Run:
        """Runs a batch whose lines take so long each beyond the upstream's latency, and checks that every
        line was sent once and succeeded."""
        names = fresh_names(len(seconds))
        told: Mapping[str, str] = {
            name: f"slow {took}" for name, took in zip(names, seconds, strict=True) if took
        }
        file_id = await self.api.upload(batch_of(names, told))
        posted = time.monotonic()
        batch_id = await self.api.create(file_id)
        async with polling(self.api, batch_id) as polls:
            batch = await polls.until_ended(within=600.0)
        ended = time.monotonic()
        mine = frozenset(names)
        sent = [visit for visit in visits(self._ledger) if visit.line in mine]
        if batch["request_counts"]["completed"] != len(names) or len(sent) != len(names):
            raise SystemExit(f"{len(sent)} sends; the batch ended as {batch}")
        spans = [(visit.began, visit.ended or ended) for visit in sent]
        first, last = min(began for began, _ in spans), max(answered for _, answered in spans)
        return Run(posted, first, last, ended, [answered - began for began, answered in spans])


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    """One for as long as the block runs."""
    ledger = folder / "ledger"
    async with (
        running_server(durable=True) as server,
        running_node(installed_server()) as node,
        ledger_upstream(ledger) as upstream,
    ):
        await server.ensure_roles()
        yield Site(folder, server, node, upstream, ledger)
