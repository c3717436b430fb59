"""How much more memory `batchmill serve` takes for large answers than for small ones.

    python -m bench.answers [--answers 1000] [--bytes 1000000]

One server runs a batch with answers of 1 kB, which loads all there is to load, and then the same lines with
large answers that hardly compress, `answers_in_flight` and concurrency as by default. Each answer takes about
three times its size of disk, in the folder for temporary files. How ending a batch copes with large answers
that were recorded in reverse order is measured by `bench.finalize_reverse`.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from bench.inputs import write_input
from bench.machine import machine
from bench.nginx import completion, nginx
from bench.serving import serving
from bench.usage import MIB, highest_by_role, watched

LINE_BYTES = 900
SMALL_BYTES = 1000


async def measure(answers: int, size: int) -> None:
    """Prints both peaks of each process, and their difference."""
    print(f"Memory at answers of {size:,} B: {answers:,} of them")
    with tempfile.TemporaryDirectory(prefix="batchmill-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # noqa: ASYNC240 - nothing else runs yet
        path = write_input(folder / "input.jsonl", answers, LINE_BYTES)
        answer = folder / "nginx" / "answer.json"
        async with (
            nginx(folder / "nginx", completion(SMALL_BYTES), from_file=True) as url,
            serving(folder / "data", url) as server,
        ):
            peaks = []
            for body in (completion(SMALL_BYTES), completion(size, compressible=False)):
                answer.write_bytes(body)
                file_id = await server.upload(path)
                async with watched(server.pid) as seen:
                    times = await server.run_batch(file_id, answers)
                print(
                    f"  {len(body):,} B: running {times.running:.1f} s "
                    f"({answers * len(body) / 1e6 / times.running:.0f} MB/s), "
                    f"finalizing {times.ended - times.finalizing:.1f} s",
                    flush=True,
                )
                peaks.append(highest_by_role(seen))
    small, large = peaks
    print(f"  {'highest of each kind of process':32} {'resident (VmHWM), MiB':>32} {'private, MiB':>32}")
    for role in small:
        if role in large:
            print(f"  {role:32} {_row(small[role].resident, large[role].resident)}", end=" ")
            print(_row(small[role].private, large[role].private))


def _row(before: int, after: int) -> str:
    return f"{before / MIB:10.1f} {after / MIB:10.1f} {(after - before) / MIB:+10.1f}"


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--bytes", type=int, default=1_000_000)
    given = parser.parse_args()
    print(machine())
    asyncio.run(measure(given.answers, given.bytes))


if __name__ == "__main__":
    main()
