"""What more workers add, and what a slow tail costs: batches on an installation with a broker.

    python -m bench.scaling [--lines 3200] [--concurrency 16] [--tails 3] [--no-scaling]

Scaling: the same batch against an upstream of 200 ms, run by 1, 2 and 4 workers of a fixed concurrency each;
the ratio is the pace over so many times that of one worker. Tails: batches of slow and of mixed lines, run by
4 workers; the ratio is the time over the ideal, by what the lines really took at the upstream: the longest,
or all of them evenly on all slots, whichever is more. (Where slow lines lie anywhere, one may be the last to
begin: that is not the cutting's, for nobody knows how long a line will take.) What a batch costs before its
first line is sent and after its last answer, however it is cut, is told apart.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import uvloop

from bench.installation import Run, Site, site
from bench.machine import machine

LATENCY = 0.2
CREW = 4
"""Workers that run the tails."""


def tails(slots: int) -> dict[str, list[float]]:
    """Batches of a dozen seconds by what their lines take, for so many slots."""
    fast, slow = [0.2] * (38 * slots), [2.0] * (2 * slots)
    return {
        "all of 1 s": [1.0] * (6 * slots),
        "all of 2 s": [2.0] * (2 * slots),
        "95 % of 0.2 s, then 5 % of 2 s": fast + slow,
        "the same, mixed": random.Random(0).sample(fast + slow, len(fast + slow)),
    }


async def measure(lines: int, concurrency: int, turns: int, *, scaling: bool) -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory(prefix="batchmill-bench-") as name:
        async with site(Path(name)) as place:
            if scaling:
                await _scaling(place, lines, concurrency)
            if turns:
                await _tails(place, concurrency, turns)


async def _scaling(place: Site, lines: int, concurrency: int) -> None:
    print(f"Scaling: {lines:,} lines of {LATENCY * 1000:g} ms, {concurrency} at a time and worker")
    one: Run | None = None
    for workers in (1, 2, 4):
        async with place.pods(workers, concurrency=concurrency) as pods:
            await pods.run([LATENCY] * (2 * workers * concurrency))  # warms it
            run = await pods.run([LATENCY] * lines)
        one = one or run
        print(
            f"  {workers} workers: {lines / run.sending:,.0f} lines/s while lines are sent "
            f"({one.sending / run.sending / workers:.2f} of linear), {lines / run.whole:,.0f}/s from POST "
            f"to completed ({one.whole / run.whole / workers:.2f}))",
            flush=True,
        )


async def _tails(place: Site, concurrency: int, turns: int) -> None:
    slots = CREW * concurrency
    print(f"Tails: {CREW} workers, {concurrency} at a time each, {turns} times")
    async with place.pods(CREW, concurrency=concurrency) as pods:
        await pods.run([LATENCY] * (2 * slots))  # warms it
        for name, seconds in tails(slots).items():
            runs = [await pods.run(seconds) for _ in range(turns)]
            whole = [run.whole / run.ideal(slots) for run in runs]
            sending = [run.sending / run.ideal(slots) for run in runs]
            print(
                f"  {len(seconds):,} lines, {name}: ideal {median(run.ideal(slots) for run in runs):.2f} s; "
                f"from POST to completed {_spread(whole)} of it, "
                f"from first send to last answer {_spread(sending)}; "
                f"before {median(run.first - run.posted for run in runs):.2f} s, "
                f"after {median(run.ended - run.last for run in runs):.2f} s",
                flush=True,
            )


def _spread(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=3200)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--tails", type=int, default=3, help="how often each tail is run")
    parser.add_argument("--no-scaling", action="store_true")
    given = parser.parse_args()
    print(machine())
    uvloop.run(measure(given.lines, given.concurrency, given.tails, scaling=not given.no_scaling))


if __name__ == "__main__":
    main()
