"""CPU and memory of `batchmill serve` and of every process under it, from /proc. Linux only."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
CpuSeconds = dict[str, float]
_TICKS = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12
"""Fields of /proc/PID/stat, counted behind the name: user and system time, and those of ended children."""


def processes(pid: int) -> dict[int, str]:
    """Every process from `pid` down with its role: `serve`, or what Postgres calls it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int(_stat(int(folder.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = {pid: "serve"}
    while more := {child for child, parent in parents.items() if parent in found and child not in found}:
        found |= {child: _role(child) for child in more}
    return found


def cpu_by_role(pid: int) -> CpuSeconds:
    """CPU seconds so far of `serve` and of Postgres (all of its processes, ended ones too)."""
    used: CpuSeconds = defaultdict(float)
    for process in processes(pid):
        try:
            fields = _stat(process)
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile: its parent has its times
        ticks = int(fields[_USER]) + int(fields[_SYSTEM])
        if process == pid:
            used["serve"] += ticks / _TICKS
        else:
            used["Postgres"] += (ticks + int(fields[_USER + 2]) + int(fields[_SYSTEM + 2])) / _TICKS
    return dict(used)


@dataclass(slots=True)
class Memory:
    """Peaks of one process in bytes, its role known.

    `resident` is the kernel's own peak (VmHWM). It counts shared pages in full: in a session of Postgres
    mostly the buffers it has touched, up to all of `shared_buffers`. `private` is what belongs to the process
    alone, the highest of samples: what one session of Postgres costs.
    """

    role: str
    resident: int = 0
    private: int = 0


@asynccontextmanager
async def watched(pid: int, every: float = 0.1) -> AsyncIterator[dict[int, Memory]]:
    """The peaks, from the start of each process until the block ends, of `pid` and the processes under it."""
    peaks: dict[int, Memory] = {}

    async def watch() -> None:
        while True:
            for process, role in processes(pid).items():
                _raise_peak(peaks.setdefault(process, Memory(role)), process)
            await asyncio.sleep(every)

    watching = asyncio.create_task(watch())
    try:
        yield peaks
    finally:
        watching.cancel()


def highest_by_role(peaks: dict[int, Memory]) -> dict[str, Memory]:
    """The highest of the processes of each role."""
    highest: dict[str, Memory] = {}
    for seen in peaks.values():
        found = highest.setdefault(seen.role, Memory(seen.role))
        found.resident = max(found.resident, seen.resident)
        found.private = max(found.private, seen.private)
    return highest


def _raise_peak(peak: Memory, pid: int) -> None:
    try:
        peak.resident = max(peak.resident, _kilobytes(pid, "status", "VmHWM"))
        private = _kilobytes(pid, "smaps_rollup", "Private_Dirty", "Private_Clean")
    except (FileNotFoundError, ProcessLookupError):
        return  # it has just ended
    peak.private = max(peak.private, private)


def _kilobytes(pid: int, file: str, *fields: str) -> int:
    """The sum, in bytes, of fields that /proc gives in kB."""
    lines = (Path("/proc") / str(pid) / file).read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.partition(":")[0] in fields)


def _stat(pid: int) -> list[str]:
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _role(pid: int) -> str:
    try:
        title = (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    if not title.startswith("postgres:"):
        return "postgres"
    words = title.removeprefix("postgres:").split()
    return f"session of {words[0]}" if words[0].startswith("batchmill") else " ".join(words[:2])
