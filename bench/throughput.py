"""Lines a second of `batchmill serve` as a ratio of a bare loop on the same machine at the same time.

    python -m bench.throughput [--lines 40000] [--pairs 5] [--concurrency 64] [--no-profile]

Both send the same requests of 0.9 kB to the same nginx, which answers 1 kB; one after the other, in turns.
`serve` is measured twice: over all a client waits for (from the POST of the batch to `completed`, with the
validation and the result file), and while lines run (`in_progress` to `finalizing`). The last table is a
profile of one more run: where the time of the serving process goes.
"""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.inputs import write_input
from bench.machine import machine
from bench.nginx import completion, nginx
from bench.profile import profiled
from bench.serving import BatchTimes, Server, serving
from bench.usage import CpuSeconds, cpu_by_role

LINE_BYTES = 900
ANSWER_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Bare:
    """A run of the bare loop: seconds by the clock and of the CPU."""

    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Pair:
    """One turn: the bare loop, a batch, and the CPU seconds of the processes of `serve` meanwhile."""

    bare: Bare
    batch: BatchTimes
    cpu: CpuSeconds


async def bare_loop(url: str, path: Path, concurrency: int) -> Bare:
    """One run, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.bare_loop", url, str(path), str(concurrency)),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit("the bare loop failed")
    seconds, cpu = printed.split()
    return Bare(float(seconds), float(cpu))


async def one_pair(
    server: Server, url: str, path: Path, lines: int, concurrency: int, *, bare_first: bool
) -> Pair:
    """The bare loop and a batch, one after the other."""
    bare = await bare_loop(url, path, concurrency) if bare_first else None
    file_id = await server.upload(path)
    before = cpu_by_role(server.pid)
    batch = await server.run_batch(file_id, lines)
    cpu = {role: used - before.get(role, 0.0) for role, used in cpu_by_role(server.pid).items()}
    return Pair(bare or await bare_loop(url, path, concurrency), batch, cpu)


async def measure(lines: int, pairs: int, concurrency: int, *, profile: bool) -> None:
    """Prints the figures."""
    print(
        f"Throughput: {lines:,} lines of {LINE_BYTES} B, answers of {ANSWER_BYTES} B, {concurrency} at a time"
    )
    with tempfile.TemporaryDirectory(prefix="batchmill-bench-") as name:
        folder = Path(name)
        path = write_input(folder / "input.jsonl", lines, LINE_BYTES)
        async with (
            nginx(folder / "nginx", completion(ANSWER_BYTES)) as url,
            serving(folder / "data", url, concurrency=concurrency) as server,
        ):
            await one_pair(server, url, path, lines, concurrency, bare_first=True)  # warms both
            measured = []
            for turn in range(pairs):
                pair = await one_pair(server, url, path, lines, concurrency, bare_first=turn % 2 == 0)
                measured.append(pair)
                print(f"  pair {turn + 1}: {_sentence(pair, lines)}", flush=True)
            _print_ratios(measured, lines)
            if profile:
                file_id = await server.upload(path)
                print("\n".join(await profiled(server.pid, server.run_batch(file_id, lines))))


def _sentence(pair: Pair, lines: int) -> str:
    bare, batch = pair.bare.seconds, pair.batch
    return (
        f"bare {lines / bare:,.0f}/s; serve {lines / batch.whole:,.0f}/s from POST to completed "
        f"({bare / batch.whole:.2f}), {lines / batch.running:,.0f}/s running ({bare / batch.running:.2f})"
    )


def _print_ratios(pairs: list[Pair], lines: int) -> None:
    for what, ratios in (
        ("from POST to completed", [pair.bare.seconds / pair.batch.whole for pair in pairs]),
        ("in_progress to finalizing", [pair.bare.seconds / pair.batch.running for pair in pairs]),
    ):
        print(
            f"  ratio {what}: median {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, "
            f"{len(ratios)} pairs)"
        )
    for phase, seconds in (
        ("validating", [pair.batch.started - pair.batch.requested for pair in pairs]),
        ("finalizing", [pair.batch.ended - pair.batch.finalizing for pair in pairs]),
    ):
        print(f"  {phase}: median {median(seconds):.2f} s")
    print(f"  CPU of the bare loop: {median(pair.bare.cpu for pair in pairs) * 1e6 / lines:.0f} µs a line")
    for role in pairs[0].cpu:
        used = median(pair.cpu.get(role, 0.0) for pair in pairs)
        print(f"  CPU of {role}: {used * 1e6 / lines:.0f} µs a line")


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=40_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--no-profile", action="store_true")
    given = parser.parse_args()
    print(machine())
    asyncio.run(measure(given.lines, given.pairs, given.concurrency, profile=not given.no_profile))


if __name__ == "__main__":
    main()
