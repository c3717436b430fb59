"""How a process hears that it is to end: before it has begun anything, while it starts, and after."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from cli.process import Ending
from events.errors import DatabaseUnavailable

UNBEGUN = """
import sys, time
from cli import main
main.run = lambda arguments: (print("running", flush=True), time.sleep(60))
sys.argv = ["batchmill", "worker"]
main.main()
"""


def tell(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_who_has_begun_nothing_yet_ends_well_however_often_it_is_told() -> None:
    with subprocess.Popen([sys.executable, "-c", UNBEGUN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        while process.poll() is None:
            process.terminate()
        assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_start_is_cut_where_it_waits_and_leaves_no_error(number: signal.Signals) -> None:
    left = False
    with Ending():
        try:
            tell(number)
            await asyncio.Event().wait()
        finally:
            left = True
    assert left


async def test_what_a_start_that_is_cut_fails_at_is_no_error() -> None:
    with Ending():
        try:
            tell(signal.SIGTERM)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise DatabaseUnavailable("away") from None


async def test_a_start_that_fails_by_itself_fails() -> None:
    with pytest.raises(DatabaseUnavailable), Ending():
        raise DatabaseUnavailable("away")


async def test_who_has_started_drains() -> None:
    hurried, before = asyncio.Event(), signal.getsignal(signal.SIGTERM)
    with Ending() as ending:
        ending.started()
        ending.on_hurry(hurried.set)
        for _ in range(2):
            tell(signal.SIGTERM)
            await ending.begun()
        assert not hurried.is_set()
        tell(signal.SIGINT)
        await hurried.wait()
    assert signal.getsignal(signal.SIGTERM) == before


async def test_whoever_may_begin_the_end_too_waits_for_the_start() -> None:
    begun = asyncio.Event()
    with Ending(begun) as ending:
        tell(signal.SIGTERM)
        await begun.wait()
        await asyncio.sleep(0)
        await ending.begun()
