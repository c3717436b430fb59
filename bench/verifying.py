"""How fast a log is verified, and in what memory, beside bare SHA-256 in the same run.

    python -m bench.verifying [--events 10000 200000] [--megabytes 200] [--line-bytes 20000]

First logs of so many events without bodies, sealed: events a second, and how far the process grows (2,000,000
events take some minutes to lay out). Then a batch with so many MB of answers: MB a second of what is verified
(attachments as stored, the lines in them, files), beside one thread that hashes as many bytes and does no
more, right after. Verifying hashes each byte once, too, but in several threads, beside reading and unpacking;
all cores are used, by the database as well. The median of several pairs. Linux only.
"""

import argparse
import asyncio
import base64
import hashlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg

from bench.finalize_reverse import MIB, forget_peak, memory
from bench.machine import machine
from cli.embedded.postgres import LOGIN
from engine.audit.progress import Report
from engine.audit.sealer import Sealer
from engine.audit.signer import KeySigner
from engine.audit.witnesses import Witnesses
from engine.finalizer import Finalizer
from events.audit.records import AuditRecords
from events.batch import Usage
from events.migrate import migrate
from events.outcomes.lines import LineOutcome
from tests.engine.audit.mill import KEY
from tests.engine.audit.sealed_log import auditor, shown_to_nobody
from tests.engine.recorded import World, request_line, result_line, world_on
from tests.postgres import Database, PostgresServer
from tests.shared_postgres import running_server

MB: Final = 1_000_000
OF_A_BATCH: Final = 100
"""Events of one batch of the log without bodies."""
FILL: Final = """
WITH made AS (
    SELECT n, n / 100 AS batch, n % 100 + 1 AS version,
           CASE n % 100 WHEN 0 THEN 'BatchCreated' WHEN 1 THEN 'BatchStarted'
                        ELSE 'LinesCompleted' END AS type,
           CASE n % 100
               WHEN 0 THEN '{"input_file_id":"file-1","endpoint":"/v1/chat/completions",'
                           '"completion_window":"24h","window_seconds":86400,"input":null}'
               WHEN 1 THEN '{"total":25088,"model":"m"}'
               ELSE '{"claim":"1","worker":"w","completed":256,"failed":0,"usage":{},"began_ms":0,"root":""}'
           END AS data
    FROM generate_series($1::bigint, $2::bigint - 1) AS n),
named AS (SELECT *, 'batch_' || md5(batch::text) AS stream, gen_random_uuid() AS id, now() AS at FROM made),
digested AS (
    SELECT *, sha256(length_prefixed(convert_to(type, 'UTF8')) || length_prefixed(convert_to(data, 'UTF8'))
                     || length_prefixed(NULL) || length_prefixed(NULL)) AS content
    FROM named),
models AS (INSERT INTO read_models (id, kind, project_id, created_at)
           SELECT stream, 'batch', 'p', at FROM digested WHERE version = 1)
INSERT INTO events (position, event_id, stream_id, version, type, project_id, data, metadata,
                    content_digest, digest, recorded_at)
SELECT n + 1 + $3, id, stream, version, type, 'p', data, '{}', content,
       event_digest(stream, version, id, 'p', '{}', at, content), at
FROM digested
"""
AT_ONCE: Final = 50_000
PAIRS: Final = 5


async def laid_out(superuser: str, events: int) -> None:
    """Lays so many more events into the log, with right digests."""
    connection = await asyncpg.connect(superuser)
    try:
        head = await connection.fetchval("SELECT coalesce(max(position), 0) FROM events")
        first = -(-head // OF_A_BATCH) * OF_A_BATCH
        for begin in range(first, first + events, AT_ONCE):
            end = min(begin + AT_ONCE, first + events)
            await connection.execute(FILL, begin, end, head - first)
        await connection.execute("ANALYZE events")
    finally:
        await connection.close()


async def sealed(world: World) -> None:
    """Seals all there is."""
    sealer = Sealer(world.journal, AuditRecords(world.database), world.store, KeySigner([KEY]), Witnesses([]))
    opened = await sealer.open(world.leadership)
    while await sealer.seal(opened, world.leadership):
        pass


async def timed(database: Database, folder: Path) -> tuple[Report, float, float]:
    """A verification, its seconds, and by how many MiB the process grew."""
    async with auditor(database, folder, []) as verifier:
        forget_peak()
        before, began = memory("VmRSS"), time.perf_counter()
        report = await verifier.run(await verifier.begin(), shown_to_nobody)
        seconds = time.perf_counter() - began
        grew = (memory("VmHWM") - before) / MIB
    assert report.clean, report.defects[:3]
    return report, seconds, grew


def bare(size: int) -> float:
    """Seconds of one thread that hashes so many bytes."""
    piece = random.Random(1).randbytes(1 << 20)
    digest, began = hashlib.sha256(), time.perf_counter()
    for _ in range(0, size, len(piece)):
        digest.update(piece)
    return time.perf_counter() - began


async def answered(world: World, megabytes: int, line_bytes: int) -> None:
    """A batch that has ended, with so many MB of answers that compress as text does."""
    dice = random.Random(1)
    count = megabytes * MB // line_bytes
    batch = await world.batch([request_line(n) for n in range(count)])
    a_flush = max(1, min(256, (4 << 20) // line_bytes))
    for begin in range(0, count, a_flush):
        outcomes = []
        for line in range(begin, min(begin + a_flush, count)):
            text = base64.b16encode(dice.randbytes(line_bytes // 2))
            result = result_line(batch.id, line).replace(b'"text":""', b'"text":"%b"' % text)
            outcomes.append(LineOutcome(line, 200, 1, Usage(1, 2, 0, 0, 3), 1.0, 0.5, result))
        await batch.record(outcomes)
    await Finalizer(world.journal, world.store, world.options).finalize(batch.id)


async def of_events(server: PostgresServer, events: int) -> tuple[float, float]:
    """Events a second of a log of so many without bodies, and by how many MiB the process grew."""
    with tempfile.TemporaryDirectory(prefix="batchmill-bench-") as folder:
        async with server.new_database() as database:
            await migrate(database.owner_url, LOGIN)
            async with world_on(database.app_url, Path(folder)) as world:
                await laid_out(database.superuser_url, events)
                await sealed(world)
            report, seconds, grew = await timed(database, Path(folder))
    return report.events / seconds, grew


async def of_bodies(server: PostgresServer, megabytes: int, line_bytes: int) -> str:
    """What is to be said of a batch with so many MB of answers."""
    with tempfile.TemporaryDirectory(prefix="batchmill-bench-") as folder:
        async with server.new_database() as database:
            await migrate(database.owner_url, LOGIN)
            async with world_on(database.app_url, Path(folder)) as world:
                await answered(world, megabytes, line_bytes)
                await sealed(world)
            took, hashing = [], []
            for _ in range(PAIRS):
                report, seconds, grew = await timed(database, Path(folder))
                took.append(seconds)
                hashing.append(bare(report.bytes_))
    size = report.bytes_ / MB
    ratio = statistics.median(alone / whole for whole, alone in zip(took, hashing, strict=True))
    return (
        f"{size:,.0f} MB of bodies, lines of {line_bytes:,} B: {size / statistics.median(took):,.0f} MB/s on "
        f"{os.cpu_count()} cores, {grew:.1f} MiB more at the peak\n"
        f"bare SHA-256 of as much, one thread: {size / statistics.median(hashing):,.0f} MB/s; "
        f"verifying is {ratio:.2f} of it"
    )


async def measure(sizes: Sequence[int], megabytes: int, line_bytes: int) -> None:
    """Prints the figures, after a small log that loads all there is to load."""
    async with running_server() as server:
        await server.ensure_roles()
        await of_events(server, 1_000)
        for events in sizes:
            rate, grew = await of_events(server, events)
            told = f"{events:>9,} events: {rate:,.0f} events/s, {grew:.1f} MiB more at the peak"
            print(f"{told}, VmHWM {memory('VmHWM') / MIB:.0f} MiB", flush=True)
        if megabytes:
            print(await of_bodies(server, megabytes, line_bytes))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--events", type=int, nargs="*", default=[10_000, 200_000])
    options.add_argument("--megabytes", type=int, default=200)
    options.add_argument("--line-bytes", type=int, default=20_000)
    given = options.parse_args()
    print(machine())
    asyncio.run(measure(given.events, given.megabytes, given.line_bytes))


if __name__ == "__main__":
    main()
