"""How fast a log is sealed, and what memory that takes, against the bare hashing that a leaf needs.

    python -m bench.sealing [--events 200000]

Seals a log of that many events from its beginning, as after a fork, and then as one that grows by 1,000
events between two checkpoints. Prints events a second, the time that a checkpoint of 1,000 events takes, how
far the process grows meanwhile, and how many leaves a second one thread hashes. Linux only.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

import asyncpg

from bench.finalize_reverse import MIB, forget_peak, memory
from cli.embedded.postgres import LOGIN
from engine.audit.sealer import Sealed, Sealer
from engine.audit.signer import KeySigner
from engine.audit.witnesses import Witnesses
from events.audit.leaf import event_leaf
from events.audit.note import PrivateKey
from events.audit.records import AuditRecords
from events.audit.tree import Frontier
from events.buses.local_bus import LocalBus
from events.journal import Journal
from events.log import Leadership
from events.migrate import migrate
from storage.local_folder import LocalFolder
from tests.events.stage import open_stage
from tests.shared_postgres import running_server

ROUNDS: Final = 10
GROWTH: Final = 1000
FILL: Final = """
INSERT INTO events (position, event_id, stream_id, version, type, project_id, data, lines, metadata,
                    content_digest, digest, recorded_at)
SELECT n, gen_random_uuid(), 'batch_' || md5((n / 10)::text), n % 10 + 1, 'LinesCompleted', 'p', '{}', '',
       '{}', sha256(int8send(n)), sha256(int8send(n)), now()
FROM (SELECT n + (SELECT coalesce(max(position), 0) FROM events) AS n FROM generate_series(1, $1) AS n) AS n
"""


async def grown(superuser: str, events: int) -> None:
    """Lays so many events into the log."""
    connection = await asyncpg.connect(superuser)
    try:
        await connection.execute(FILL.replace("$1", str(events)))
        await connection.execute("ANALYZE events")
    finally:
        await connection.close()


async def sealed_whole(sealer: Sealer, sealed: Sealed, leadership: Leadership, size: int) -> float:
    """Seals until the tree has the size; seconds."""
    began = time.perf_counter()
    while sealed.last.size < size:
        await sealer.seal(sealed, leadership)
    return time.perf_counter() - began


def hashed(leaves: int) -> float:
    """Leaves a second that are hashed into a tree, and no more than that."""
    frontier, began = Frontier(), time.perf_counter()
    for number in range(leaves):
        frontier.add(event_leaf(bytes(32), "batch_0123456789abcdef0123456789abcdef", number))
    return leaves / (time.perf_counter() - began)


async def measure(events: int) -> None:
    """Prints the figures, after a small log that loads all there is to load."""
    with tempfile.TemporaryDirectory(prefix="batchmill-bench-") as folder:
        async with running_server() as server:
            await server.ensure_roles()
            async with server.new_database() as database:
                await migrate(database.owner_url, LOGIN)
                async with open_stage(database.app_url) as stage:
                    store = LocalFolder(Path(folder))
                    journal = Journal(stage.log, stage.models, LocalBus())
                    signer = KeySigner([PrivateKey.fresh("bench")])
                    sealer = Sealer(journal, AuditRecords(stage.database), store, signer, Witnesses([]))
                    leadership = await stage.lead()
                    await grown(database.superuser_url, GROWTH)
                    sealed = await sealer.open(leadership)
                    await sealer.seal(sealed, leadership)
                    await grown(database.superuser_url, events)
                    forget_peak()
                    before = memory("VmRSS")
                    size = sealed.last.size
                    seconds = await sealed_whole(sealer, sealed, leadership, size + events)
                    rate = events / seconds
                    print(f"from the beginning: {events:,} events in {seconds:.1f} s, {rate:,.0f} events/s")
                    took = []
                    for _ in range(ROUNDS):
                        await grown(database.superuser_url, GROWTH)
                        size = sealed.last.size + GROWTH
                        took.append(await sealed_whole(sealer, sealed, leadership, size))
                    grew = (memory("VmHWM") - before) / MIB
                    print(
                        f"a checkpoint of {GROWTH:,} more events: {1000 * sorted(took)[ROUNDS // 2]:.0f} ms"
                    )
                    print(f"memory: {grew:.1f} MiB more than before")
                    bare = hashed(min(events, 200_000))
                    print(f"bare hashing: {bare:,.0f} leaves/s; sealing is {rate / bare:.2f} of it")
                    await store.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--events", type=int, default=200_000)
    asyncio.run(measure(options.parse_args().events))


if __name__ == "__main__":
    main()
