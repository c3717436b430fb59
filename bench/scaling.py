"""What more workers add, and what a slow tail costs: batches on an installation with a broker.

    python -m bench.scaling [--lines 3200] [--concurrency 16] [--tails 3] [--no-scaling]

Scaling: the same batch against an upstream of 200 ms, run by 1, 2 and 4 workers of a fixed concurrency each;
the ratio is the pace over so many times that of one worker. Tails: batches of slow and of mixed lines, run by
4 workers; the ratio is the time over the ideal, which no cutting can beat: the longest line, or the sum of
all lines over all slots, whichever is more. What every batch costs beside its lines, however it is cut (to
be validated, to be recorded, to have its files written), is told apart: the whole less the time from the
first line that is sent to the last answer.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from bench.installation import Run, Site, site
from bench.machine import machine

LATENCY = 0.2
CREW = 4
"""Workers that run the tails."""


@dataclass(frozen=True, slots=True)
class Tail:
    """A batch by the seconds that its lines take."""

    name: str
    lines: Sequence[float]

    def ideal(self, slots: int) -> float:
        """Seconds below which no batch of these lines can be."""
        return max(max(self.lines), sum(self.lines) / slots)


def tails(slots: int) -> list[Tail]:
    """As many lines as keep so many slots busy for about five seconds each, in four shapes."""
    fast, slow = 0.1, 2.0
    few = slots * 3 // 4
    quick = slots * 40
    at_the_end = [fast] * quick + [slow] * few
    mixed = random.Random(0).sample(at_the_end, len(at_the_end))
    return [
        Tail("lines of 1 s", [1.0] * (6 * slots)),
        Tail("lines of 2 s", [2.0] * (2 * slots)),
        Tail(f"{quick} fast lines, then {few} of {slow:g} s", at_the_end),
        Tail("the same, mixed", mixed),
    ]


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
        for tail in tails(slots):
            ideal = tail.ideal(slots)
            runs = [await pods.run(tail.lines) for _ in range(turns)]
            whole, sending = [run.whole / ideal for run in runs], [run.sending / ideal for run in runs]
            print(
                f"  {tail.name}: {len(tail.lines):,} lines, ideal {ideal:.2f} s; POST to completed "
                f"{_spread(whole)} of it, first send to last answer {_spread(sending)}; before "
                f"{median(run.first - run.posted for run in runs):.2f} s, after "
                f"{median(run.ended - run.last for run in runs):.2f} s",
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
