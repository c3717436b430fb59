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
ROWS = 25


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
    """From py-spy's raw form (`outer;…;inner count`): functions by what they took themselves, and by what
    they took with all they called."""
    own, total = Counter[str](), Counter[str]()
    samples = 0
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        names = [_function(frame) for frame in frames.split(";")]
        samples += int(count)
        own[names[-1]] += int(count)
        for name in set(names):
            total[name] += int(count)
    lines = [
        f"Profile of the serving process: {samples:,} samples of busy threads",
        "   own  total  function",
    ]
    shown = sorted(total, key=lambda name: own[name], reverse=True)[:ROWS]
    lines += [f"  {own[name] / samples:4.0%}  {total[name] / samples:5.0%}  {name}" for name in shown]
    lines.append("  by total, ours only:")
    ours = [
        name for name, _ in total.most_common() if "(engine/" in name or "(events/" in name or "(api/" in name
    ]
    lines += [f"  {own[name] / samples:4.0%}  {total[name] / samples:5.0%}  {name}" for name in ours[:ROWS]]
    return lines


def _function(frame: str) -> str:
    """`name (path:line)` without the line, and without the path to the packages."""
    name, _, place = frame.partition(" (")
    path = place.rstrip(")").rpartition(":")[0] or place.rstrip(")")
    for room in ("engine", "events", "storage", "api", "cli"):
        if f"/{room}/" in f"/{path}" and "site-packages" not in path:
            return f"{name} ({room}/{path.rpartition('/')[2]})"
    return f"{name} ({path.rpartition('site-packages/')[2]})"
