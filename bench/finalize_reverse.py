"""Memory that ending a batch takes when large answers were recorded in reverse order.

    python -m bench.finalize_reverse [--answers 10000] [--bytes 1000000]

Prints how far the process grows over what it held before, the seconds, and the rate. It takes as much disk
as the answers are long, in the folder for temporary files. Linux only: the peak is read from /proc.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from cli.embedded.postgres import LOGIN
from engine.finalizer import Finalizer
from events.migrate import migrate
from tests.engine.recorded import World, request_line, world_on
from tests.shared_postgres import running_server

MIB = 1 << 20


def memory(field: str) -> int:
    """Bytes that the kernel counts for this process: `VmRSS` now, `VmHWM` at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)


def forget_peak() -> None:
    """The peak counts from now on."""
    Path("/proc/self/clear_refs").write_text("5")


async def ended_batch(world: World, answers: int, size: int) -> tuple[int, float]:
    """Records a batch in reverse order and ends it: bytes grown meanwhile, and seconds."""
    batch = await world.batch([request_line(n) for n in range(answers)])
    for line in reversed(range(answers)):
        await batch.record_lines([line], size=size)
    finalizer = Finalizer(world.journal, world.store, world.options)
    forget_peak()
    before, began = memory("VmRSS"), time.perf_counter()
    await finalizer.finalize(batch.id)
    seconds = time.perf_counter() - began
    state = await batch.state()
    assert (state.status, state.completed) == ("completed", answers)
    return memory("VmHWM") - before, seconds


async def measure(answers: int, size: int) -> None:
    """Prints the figures, after a small batch that loads all there is to load."""
    with tempfile.TemporaryDirectory(prefix="batchmill-bench-") as folder:
        async with running_server(durable=True) as server:
            await server.ensure_roles()
            async with server.new_database() as database:
                await migrate(database.owner_url, LOGIN)
                async with world_on(database.app_url, Path(folder)) as world:
                    await ended_batch(world, 2, size)
                    grown, seconds = await ended_batch(world, answers, size)
    print(
        f"{answers:,} answers of {size:,} bytes, recorded in reverse: {grown / MIB:.0f} MiB more, "
        f"{seconds:.1f} s, {answers * size / seconds / 1e6:.0f} MB/s"
    )


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=1_000_000)
    options = parser.parse_args()
    asyncio.run(measure(options.answers, options.bytes))


if __name__ == "__main__":
    main()
