"""`batchmill serve`, `api` and `worker` as processes of their own, as an operator sees them: their start,
their words, their end."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Final
from unittest.mock import patch

import psutil
from openai import OpenAI

from cli.main import run
from tests.tied import TIED

PROGRAM: Final = (sys.executable, "-m", "cli.main")
PATIENCE: Final = 120.0
"""Seconds after which a process that says nothing, or does not end, fails its test."""


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of the program, and those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BATCHMILL_")}
    return inherited | dict(given or {})


class ServeProcess:
    """A `batchmill serve` that was started. `said` is every line it has written so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said: list[str] = []
        self._heard = threading.Condition()
        self._ended = False
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def until(self, text: str) -> str:
        """The first line it says that holds `text`. Fails where it ends without."""
        with self._heard:
            self._heard.wait_for(lambda: self._ended or self._find(text) is not None, PATIENCE)
            found = self._find(text)
        assert found is not None, f"never said {text!r}:\n" + self.told
        return found

    @property
    def told(self) -> str:
        """All it has said."""
        return "\n".join(self.said)

    @property
    def url(self) -> str:
        """Where it serves, as soon as it does."""
        return self.until("Batchmill is ready at ").split()[-1]

    @property
    def first_key(self) -> str:
        """The key it made and showed."""
        return self.until("Your first API key").split()[-1]

    def client(self, key: str) -> OpenAI:
        """An SDK that asks once: a test wants to see every refusal."""
        return OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=PATIENCE)

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Signals it, unless it ends anyway, and returns its exit code when all of it was heard."""
        with suppress(ProcessLookupError):
            self.process.send_signal(with_signal)
        return self.exit_code()

    def exit_code(self) -> int:
        """Waits for its end. Fails, and kills it, where it does not come."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._kill()
            raise AssertionError("did not end:\n" + self.told) from None
        self._listener.join(PATIENCE)
        return code

    def family(self) -> list[psutil.Process]:
        """The process and all it has started, the database first of all."""
        itself = psutil.Process(self.process.pid)
        return [*reversed(itself.children(recursive=True)), itself]

    def kill_all(self) -> None:
        """kill -9 of everything at once, and waits until nothing is left."""
        family = self._kill()
        self.exit_code()
        psutil.wait_procs(family, PATIENCE)

    def _kill(self) -> list[psutil.Process]:
        family = self.family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return family

    def _find(self, text: str) -> str | None:
        return next((line for line in self.said if text in line), None)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._heard:
                self.said.append(line.rstrip("\n"))
                self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()


@contextmanager
def serve_process(
    *arguments: str | Path,
    port: int = 0,
    settings: Mapping[str, str] | None = None,
    run_as: Sequence[str] = (),
) -> Iterator[ServeProcess]:
    """A `batchmill serve`, on a free port unless one is given, stopped at the end of the block.

    `settings` are environment variables; `run_as` is what stands before the command, such as `setpriv …`.
    """
    with started("serve", "--port", str(port), *arguments, settings=settings, run_as=run_as) as served:
        yield served


@contextmanager
def started(
    *arguments: str | Path, settings: Mapping[str, str] | None = None, run_as: Sequence[str] = ()
) -> Iterator[ServeProcess]:
    """A command of the program that runs until it is stopped, at the end of the block."""
    with subprocess.Popen(
        [*TIED, *run_as, *PROGRAM, *map(str, arguments)],
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        served = ServeProcess(process)
        try:
            yield served
        finally:
            served.end()


def ran(
    *arguments: str | Path, settings: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Another command of the program, run to its end."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def ran_here(
    *arguments: str | Path, settings: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """The same in this process, for a command whose own start, a second long, is not the point."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, environment(settings), clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = run([*map(str, arguments)])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
