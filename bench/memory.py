"""Peak memory of each process of `batchmill serve` at a small and at a large input.

    python -m bench.memory [--small 20] [--large 1000] [--line-bytes 1000 20000]     (sizes in MB)

Each run has a server of its own: upload, batch, download of the result. What must not grow with the input is
the memory of every single process; the last column is the large peak over the small one.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from bench.inputs import write_input
from bench.machine import machine
from bench.nginx import completion, nginx
from bench.serving import serving
from bench.usage import MIB, Memory, highest_by_role, watched

MB = 1_000_000
ANSWER_BYTES = 1000
LIMITS = {"max_batch_lines": 100_000_000, "max_batch_file_bytes": 1 << 40, "max_file_bytes": 1 << 40}


async def peaks_of(folder: Path, megabytes: int, line_bytes: int) -> dict[str, Memory]:
    """One run; the peaks by role."""
    lines = megabytes * MB // line_bytes
    path = write_input(folder / "input.jsonl", lines, line_bytes)
    async with (
        nginx(folder / "nginx", completion(ANSWER_BYTES)) as url,
        serving(folder / "data", url, **LIMITS) as server,
        watched(server.pid) as peaks,
    ):
        began = time.monotonic()
        file_id = await server.upload(path)
        uploaded = time.monotonic()
        times = await server.run_batch(file_id, lines)
        took = f"upload {uploaded - began:.1f} s, batch {times.whole:.1f} s"
        print(f"  {megabytes:,} MB in {lines:,} lines: {took}", flush=True)
        await server.download(times.output_file_id)
    return highest_by_role(peaks)


async def compare(small: int, large: int, line_bytes: int) -> None:
    """Prints a table of both sizes."""
    print(f"Memory at {small:,} and {large:,} MB of input, lines of {line_bytes:,} B")
    peaks = []
    for megabytes in (small, large):
        with tempfile.TemporaryDirectory(prefix="batchmill-bench-") as folder:
            Path(folder).chmod(0o755)  # noqa: ASYNC240 - nothing else runs yet
            peaks.append(await peaks_of(Path(folder), megabytes, line_bytes))
    before, after = peaks
    print(f"  {'highest of each kind of process':32} {'resident (VmHWM), MiB':>32} {'private, MiB':>32}")
    for role in before:
        if role in after:
            print(f"  {role:32} {_row(before[role].resident, after[role].resident)}", end=" ")
            print(_row(before[role].private, after[role].private))


def _row(before: int, after: int) -> str:
    ratio = after / before if before else 0.0
    return f"{before / MIB:10.1f} {after / MIB:10.1f} {ratio:9.2f}×"


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=int, default=20)
    parser.add_argument("--large", type=int, default=1000)
    parser.add_argument("--line-bytes", type=int, nargs="+", default=[1000, 20_000])
    given = parser.parse_args()
    print(machine())
    for line_bytes in given.line_bytes:
        asyncio.run(compare(given.small, given.large, line_bytes))


if __name__ == "__main__":
    main()
