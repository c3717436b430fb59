"""Where the time of a running process goes, by sampling it from outside (py-spy)."""

import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path

RATE = 250
"""Samples a second."""
ROWS = 20
IDLE = "_worker (concurrent/futures/thread.py)"
"""Innermost where a thread of a pool waits for work: such samples are left out."""
PARTS = {
    "validation (planner)": ("engine/planner.py", "engine/planning.py"),
    "result files (finalizer)": ("engine/finalizer.py", "engine/result_files.py", "engine/line_order.py"),
    "HTTP to the upstream (aiohttp)": ("aiohttp/",),
    "HTTP to the upstream (our adapter)": ("engine/http_upstream.py",),
    "recording (recorder, flush)": ("engine/recorder.py",),
    "lines (lane: slots, verdicts, result lines)": ("engine/lane.py",),
    "claiming and reading chunks (worker)": ("engine/worker.py",),
    "handing out (dispatcher)": ("engine/dispatcher.py",),
    "read models (followers)": ("events/follower.py",),
    "API": ("api/", "litestar/", "uvicorn/"),
    "other database calls": ("asyncpg/",),
    "event loop and its system calls": ("asyncio/runners.py",),
}
"""Parts of the program by files; of several that are on a stack the first one here counts."""


async def profiled(pid: int, run: Coroutine[None, None, object]) -> list[str]:
    """Samples the process `pid` while `run` lasts: a table of the functions that took most."""
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        run.close()
        return ["No profile: py-spy is not installed (pip install py-spy)."]
    with tempfile.TemporaryDirectory(prefix="batchmill-profile-") as name:
        stacks = Path(name) / "stacks"
        sampler = await asyncio.create_subprocess_exec(
            *(program, "record", "--pid", str(pid), "--rate", str(RATE), "--format", "raw"),
            *("--output", str(stacks), "--duration", "3600", "--threads"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await asyncio.sleep(1)
        await run
        if sampler.returncode is None:
            sampler.send_signal(2)
        await sampler.wait()
        return (
            table(stacks.read_text())
            if stacks.exists()
            else ["No profile: py-spy may not look at processes."]
        )


def table(stacks: str) -> list[str]:
    """From py-spy's raw form (`outer;…;inner count`): where the time went by part of the program, and the
    functions that took most of it themselves, with what they took in all."""
    parts, own, total = Counter[str](), Counter[str](), Counter[str]()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        names = [_function(frame) for frame in frames.split(";")]
        if names[-1] == IDLE:
            continue
        parts[_part(frames)] += int(count)
        own[names[-1]] += int(count)
        for name in set(names):
            total[name] += int(count)
    samples = max(1, parts.total())
    lines = [f"  profile of the serving process, {samples:,} samples, by part:"]
    lines += [f"  {count / samples:6.1%}  {part}" for part, count in parts.most_common()]
    lines.append("     own   total  function")
    for name, taken in own.most_common(ROWS):
        lines.append(f"  {taken / samples:6.1%}  {total[name] / samples:6.1%}  {name}")
    return lines


def _part(frames: str) -> str:
    """The part of the program that a stack belongs to: the first whose file is on it."""
    return next((part for part, files in PARTS.items() if any(file in frames for file in files)), "the rest")


def _function(frame: str) -> str:
    """`name (path:line)` without the line, and without the path to the packages."""
    name, _, place = frame.partition(" (")
    path = place.rstrip(")").rpartition(":")[0] or place.rstrip(")")
    for room in ("engine", "events", "storage", "api", "cli"):
        if f"/{room}/" in f"/{path}" and "site-packages" not in path:
            return f"{name} ({room}/{path.rpartition('/')[2]})"
    return f"{name} ({path.rpartition('site-packages/')[2]})"
