"""CPU and memory of `batchmill serve` and of every process under it, from /proc. Linux only."""

import os
from collections import defaultdict
from pathlib import Path

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


def _stat(pid: int) -> list[str]:
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _role(pid: int) -> str:
    try:
        title = (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    if not title.startswith("postgres:"):
        return "postgres"
    words = title.removeprefix("postgres:").split()
    return "session" if "batchmill" in words[0] or "batchmill" in words[-2:] else " ".join(words)
