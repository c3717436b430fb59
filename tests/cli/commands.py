"""Commands as real processes of a group of their own, so that a test can kill everything they started."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from tests.tied import TIED


class Ended(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


class Command:
    """A running command."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._read: dict[asyncio.StreamReader | None, str] = {process.stdout: "", process.stderr: ""}

    async def says(self, text: str) -> str:
        """The first line of standard error with this text, as soon as it comes."""
        return await self._line(self._process.stderr, text)

    async def prints(self, text: str) -> str:
        """The first line of standard output with this text, as soon as it comes."""
        return await self._line(self._process.stdout, text)

    async def _line(self, stream: asyncio.StreamReader | None, text: str) -> str:
        assert stream is not None
        while line := (await stream.readline()).decode():
            self._read[stream] += line
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came, but {self._read[stream]!r}")

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """What an orderly shutdown of the machine does."""
        self._process.send_signal(signal.SIGTERM)

    async def killed(self) -> None:
        """Kills the whole group, the database too, and returns when the command is gone."""
        os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def ended(self) -> Ended:
        """Waits for the end."""
        out, err = await self._process.communicate()
        assert self._process.returncode is not None
        read = self._read
        return Ended(
            self._process.returncode,
            read[self._process.stdout] + out.decode(),
            read[self._process.stderr] + err.decode(),
        )


@asynccontextmanager
async def command(*arguments: object, environ: Mapping[str, str] | None = None) -> AsyncIterator[Command]:
    """Starts `batchmill` with these arguments and no setting but those of `environ`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BATCHMILL_")}
    process = await asyncio.create_subprocess_exec(
        *TIED,
        sys.executable,
        "-m",
        "cli.main",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**clean, **(environ or {})},
        start_new_session=True,
    )
    try:
        yield Command(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def batchmill(*arguments: object, environ: Mapping[str, str] | None = None) -> Ended:
    """Runs a command to its end."""
    async with command(*arguments, environ=environ) as running:
        return await running.ended()
