"""How fast a log is folded: into a copy of the read models by a rebuild, and beside them by a replay.

    python -m bench.replay [--events 200000]

Lays so many events of batches that have ended into a log, 20 each. Prints events a second of both, how long
the swap of a rebuild took, how many differences the replay found, and how far the process grows meanwhile.
Linux only.
"""

import argparse
import asyncio
import time
from typing import Final

import asyncpg

from bench.finalize_reverse import MIB, forget_peak, memory
from cli.embedded.postgres import LOGIN
from events.audit.replay import Replay
from events.batch import (
    BatchCompleted,
    BatchCreated,
    BatchEvent,
    BatchFinalizing,
    BatchStarted,
    InputFile,
    LinesCompleted,
    Usage,
)
from events.catalog import encode
from events.database import Database
from events.migrate import migrate
from events.rebuild import rebuild
from tests.shared_postgres import running_server

EACH: Final = 20
"""Events of a batch."""
LINES: Final = 256
FLUSHES: Final = EACH - 4
FILL: Final = """
INSERT INTO events (position, event_id, stream_id, version, type, project_id, data, lines, metadata,
                    content_digest, digest, recorded_at)
SELECT n, gen_random_uuid(), 'batch_' || md5(((n - 1) / $1)::text), (n - 1) % $1 + 1, e.type, 'p', e.data,
       CASE WHEN e.type = 'LinesCompleted' THEN ''::bytea END, '{}', '', '', now()
FROM generate_series(1, $2::bigint) AS n
JOIN unnest($3::text[], $4::text[]) WITH ORDINALITY AS e (type, data, place) ON e.place = (n - 1) % $1 + 1
"""


def life() -> list[BatchEvent]:
    """The events of one batch."""
    flush = LinesCompleted(
        "1/0", "worker", LINES, 0, Usage(9 * LINES, 9 * LINES, 0, 0, 18 * LINES), 0, "00" * 32
    )
    source = InputFile("files/0", 1_000_000, "00" * 32)
    return [
        BatchCreated("file-1", "/v1/chat/completions", "24h", 86_400, source),
        BatchStarted(LINES * FLUSHES, "m"),
        *[flush] * FLUSHES,
        BatchFinalizing("done"),
        BatchCompleted("file-2", None),
    ]


async def grown(superuser: str, events: int) -> None:
    """Lays so many events into the log."""
    types, data = zip(*map(encode, life()), strict=True)
    connection = await asyncpg.connect(superuser)
    try:
        await connection.execute(FILL, EACH, events, list(types), list(data))
        await connection.execute("ANALYZE events")
    finally:
        await connection.close()


async def measure(events: int) -> None:
    """Prints the figures."""
    async with running_server() as server:
        await server.ensure_roles()
        async with server.new_database() as database:
            await migrate(database.owner_url, LOGIN)
            await grown(database.superuser_url, events)
            forget_peak()
            before, began = memory("VmRSS"), time.perf_counter()
            made = await rebuild(database.app_url)
            seconds = time.perf_counter() - began
            print(
                f"rebuild: {made.events:,} events into {made.batches:,} rows in {seconds:.1f} s, "
                f"{made.events / seconds:,.0f} events/s; swapped in {1000 * made.swapped_in:.0f} ms"
            )
            pools = await Database.open(database.app_url, connections=2)
            began = time.perf_counter()
            found = await Replay(pools, None).run()
            seconds = time.perf_counter() - began
            await pools.close()
            print(
                f"replay: {found.events:,} events in {seconds:.1f} s, {found.events / seconds:,.0f} "
                f"events/s; {found.different:,} differences"
            )
            print(f"memory: {(memory('VmHWM') - before) / MIB:.1f} MiB more than before")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--events", type=int, default=200_000)
    asyncio.run(measure(options.parse_args().events))


if __name__ == "__main__":
    main()
