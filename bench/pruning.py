"""How fast old batches are moved to storage, and what reading them there costs.

    python -m bench.pruning [--batches 2000] [--beside 8]

Lays so many batches that have ended and lost their results into a log, so many of them side by side, and
seals it. Prints events a second of pruning, and of verifying and replaying before and after it, as ratios;
how much smaller the events are in storage; and how far the process grows meanwhile. Linux only.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

import asyncpg

from bench.finalize_reverse import MIB, forget_peak, memory
from bench.replay import FLUSHES, LINES, life
from cli.embedded.postgres import LOGIN
from engine.audit.checkpoints import Trust
from engine.audit.progress import Progress
from engine.audit.pruner import prune
from engine.audit.sealer import Sealer
from engine.audit.signer import KeySigner
from engine.audit.verifier import Verifier
from engine.audit.witnesses import Witnesses
from events.audit.evidence import Evidence
from events.audit.note import PrivateKey
from events.audit.records import AuditRecords
from events.audit.replay import Replay
from events.buses.local_bus import LocalBus
from events.catalog import encode
from events.database import Database
from events.file import FileCreated, FileDeleted
from events.incarnation import current_incarnation
from events.journal import Journal
from events.migrate import migrate
from events.outcomes.lines import pack_facts
from events.postgres_log import PostgresLog
from events.read_models import ReadModels
from events.rebuild import rebuild
from events.work import WorkBoard
from storage.local_folder import LocalFolder
from storage.store import Store
from tests.events.stage import BEGAN_MS, outcome
from tests.shared_postgres import running_server

KEY: Final = PrivateKey("bench", bytes(range(32)))
T = TypeVar("T")
FILL: Final = """ WITH laid AS ( SELECT position, CASE WHEN of_file THEN 'file-' ELSE 'batch_' END ||
md5(batch::text) AS stream_id, version, type, replace(data, 'file-2', 'file-' || md5(batch::text)) AS data,
lines, CASE WHEN lines IS NOT NULL THEN sha256('') END AS attachments FROM generate_series(0, $1::bigint - 1)
AS batch, unnest($2::text[], $3::text[], $4::bytea[], $5::bool[], $6::bigint[]) WITH ORDINALITY AS e (type,
data, lines, of_file, version, place), LATERAL (SELECT (batch / $7 * cardinality($2) + place - 1) * $7 + batch
% $7 + 1 AS position) p), digested AS ( SELECT *, sha256(length_prefixed(convert_to(type, 'UTF8')) ||
length_prefixed(convert_to(data, 'UTF8')) || length_prefixed(lines) || length_prefixed(attachments)) AS
content, gen_random_uuid() AS event_id, date_trunc('milliseconds', now()) AS recorded_at FROM laid) INSERT
INTO events (position, event_id, stream_id, version, type, project_id, data, lines, metadata, attachments,
content_digest, digest, recorded_at) SELECT position, event_id, stream_id, version, type, 'p', data, lines,
'{}', attachments, content, event_digest(stream_id, version, event_id, 'p', '{}', recorded_at, content),
recorded_at FROM digested """


async def grown(superuser: str, batches: int, beside: int) -> None:
    """Lays so many batches into the log."""
    *until, end = life()
    file = FileCreated("out.jsonl", "batch_output", 0, "00" * 32, "files/0")
    events = [(event, False) for event in until] + [(file, True), (end, False), (FileDeleted(), True)]
    types, data = zip(*(encode(event) for event, _ in events), strict=True)
    facts = iter(
        pack_facts([outcome(line) for line in range(n * LINES, (n + 1) * LINES)], BEGAN_MS)
        for n in range(FLUSHES)
    )
    lines = [next(facts) if type_ == "LinesCompleted" else None for type_ in types]
    of_file = [one for _, one in events]
    versions = [of_file[: n + 1].count(one) for n, one in enumerate(of_file)]
    connection = await asyncpg.connect(superuser)
    try:
        await connection.execute(FILL, batches, types, data, lines, of_file, versions, beside)
        await connection.execute("VACUUM ANALYZE events")
    finally:
        await connection.close()


async def timed(what: Callable[[], Awaitable[T]]) -> tuple[float, T]:
    """Seconds that it takes, and what comes of it."""
    began = time.perf_counter()
    made = await what()
    return time.perf_counter() - began, made


async def sealed(database: Database, store: Store) -> None:
    """Seals all there is."""
    board = WorkBoard(database)
    leadership = await board.take_leadership("bench", await board.observe("bench"))
    assert leadership is not None
    journal = Journal(PostgresLog(database, store), ReadModels(database), LocalBus())
    sealer = Sealer(journal, AuditRecords(database, store), store, KeySigner([KEY]), Witnesses([]))
    state = await sealer.open(leadership)
    while await sealer.seal(state, leadership):
        pass


async def read(database: Database, store: Store) -> tuple[float, float, int]:
    """Events a second of a verification and of a replay, and how many there are; there must be no defect."""

    async def nobody(progress: Progress) -> None:
        """No progress bar."""

    incarnation = await current_incarnation(database)
    log, evidence = PostgresLog(database, store), Evidence(database, store)
    verifier = Verifier(evidence, log, store, incarnation, Trust([KEY.public]))

    async def verify() -> int:
        report = await verifier.run(await verifier.begin(), nobody)
        assert report.clean, report.defects[:3]
        return report.events

    verifying, events = await timed(verify)
    replaying, found = await timed(Replay(database, store).run)
    assert not found.different, found.differences[:3]
    return events / verifying, events / replaying, events


async def measure(batches: int, beside: int) -> None:
    """Prints the figures."""
    async with running_server() as server:
        await server.ensure_roles()
        async with server.new_database() as database:
            await migrate(database.owner_url, LOGIN)
            await grown(database.superuser_url, batches, beside)
            await rebuild(database.app_url)
            with tempfile.TemporaryDirectory() as folder:
                store = LocalFolder(Path(folder))
                reader = await Database.open(database.app_url)
                owner = await Database.open(database.owner_url)
                await sealed(reader, store)
                forget_peak()
                resident = memory("VmRSS")
                before = await read(reader, store)
                seconds, moved = await timed(lambda: prune(owner, store, [KEY.public], timedelta()))
                after = await read(reader, store)
                grew = (memory("VmHWM") - resident) / MIB
                await owner.close()
                await reader.close()
                await store.close()
    print(
        f"prune: {moved.events:,} of {before[2]:,} events in {seconds:.1f} s, "
        f"{moved.events / seconds:,.0f} events/s; {moved.segments:,} segments, {moved.bytes_ / MIB:.1f} MiB "
        f"as {moved.stored / MIB:.1f} MiB"
    )
    for what, was, now in (("verify", before[0], after[0]), ("replay", before[1], after[1])):
        print(f"{what}: {was:,.0f} events/s before, {now:,.0f} after ({now / was:.2f})")
    print(f"memory: {grew:.1f} MiB more than before")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--batches", type=int, default=2_000)
    options.add_argument("--beside", type=int, default=8)
    chosen = options.parse_args()
    asyncio.run(measure(chosen.batches // chosen.beside * chosen.beside, chosen.beside))


if __name__ == "__main__":
    main()
