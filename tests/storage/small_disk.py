"""A disk that is soon full: one of its own where we may mount it, else writes that go to /dev/full.

Either way the error comes from the kernel.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SIZE = 4 << 20


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder with room for 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
        yield disk
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        return

    write, full = os.write, os.open("/dev/full", os.O_WRONLY)

    def limited(descriptor: int, data: memoryview) -> int:
        fits = os.fstat(descriptor).st_size + len(data) <= SIZE
        return write(descriptor if fits else full, data)

    monkeypatch.setattr(os, "write", limited)
    yield disk
    os.close(full)
