"""How long it takes from the POST that makes a batch to the first call of the upstream, on an idle system.

    python -m bench.first_call [--tries 100] [--workers 2]

Batches of one line, one after the other, each after the one before has ended and at no particular moment; in
`batchmill serve` (the bus in the process), and in `batchmill api` with workers over RabbitMQ. On the way lie
the POST itself, the validation of the input, the hand-out, the claim, and all their commits; so the last line
of each part says what a commit of one row takes here.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from statistics import median

import asyncpg
import uvloop

from bench.installation import Installation, Site, site
from bench.machine import machine
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import polling

REST = (0.3, 0.5)
"""Seconds between an upload and the POST, at least and at most: followers are through with it by then."""
COMMITS = 200


async def first_calls(site: Site, installation: Installation, tries: int) -> list[tuple[float, float]]:
    """Of each try the seconds from the POST to its answer, and to the first call."""
    took = []
    api, chance = installation.api, random.Random(0)
    for _ in range(tries):
        [name] = fresh_names(1)
        file_id = await api.upload(batch_of([name]))
        await asyncio.sleep(chance.uniform(*REST))
        calling = asyncio.create_task(_called(site, name))
        posted = time.monotonic()
        batch_id = await api.create(file_id)
        answered = time.monotonic()
        took.append((answered - posted, await calling - posted))
        async with polling(api, batch_id) as polls:
            await polls.until_ended()
    return took


async def _called(site: Site, name: str) -> float:
    await site.upstream.until(lambda upstream: upstream.tries_of(name) > 0)
    return time.monotonic()


async def commit_seconds(url: str) -> float:
    """The median of commits of one row, one after the other."""
    connection = await asyncpg.connect(url)
    took = []
    try:
        for _ in range(COMMITS):
            began = time.monotonic()
            await connection.execute(
                "INSERT INTO checkpoints VALUES ('bench', 1) ON CONFLICT (follower) "
                "DO UPDATE SET position = checkpoints.position + 1"
            )
            took.append(time.monotonic() - began)
    finally:
        await connection.close()
    return median(took)


async def measure(tries: int, workers: int) -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory(prefix="batchmill-bench-") as name:
        async with site(Path(name)) as place:
            print(f"From POST to the first call of the upstream, {tries} batches of one line")
            async with place.serve() as serving:
                await _tell(place, "in-process", serving, tries)
            async with place.pods(workers) as pods:
                await _tell(place, f"RabbitMQ, {workers} workers", pods, tries)


async def _tell(place: Site, what: str, installation: Installation, tries: int) -> None:
    await first_calls(place, installation, 5)  # warms it
    took = await first_calls(place, installation, tries)
    commit = await commit_seconds(installation.api.database)
    answers, calls = [answer for answer, _ in took], [call for _, call in took]
    print(
        f"  {what}: {_spread(calls)}; the POST's answer {_spread(answers)}; a commit {commit * 1000:.1f} ms",
        flush=True,
    )


def _spread(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    high = ordered[ceil(0.99 * len(ordered)) - 1]
    return f"median {median(ordered) * 1000:.1f} ms, p99 {high * 1000:.1f} ms"


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    print(machine())
    uvloop.run(measure(given.tries, given.workers))


if __name__ == "__main__":
    main()
