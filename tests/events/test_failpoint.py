"""Failpoints: nothing unless armed, and then exactly there."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from events import failpoint
from events.errors import BatchmillError
from events.failpoint import FailpointRaised, arm, at


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    arm("")


async def test_an_unarmed_point_is_passed() -> None:
    for name in failpoint.NAMES:
        await at(name)


async def test_an_armed_point_raises_on_its_passage_and_only_then() -> None:
    arm("flush.after=raise@2,append.before=raise")
    await at("flush.after")
    with pytest.raises(FailpointRaised, match=r"flush\.after"):
        await at("flush.after")
    await at("flush.after")
    with pytest.raises(FailpointRaised):
        await at("append.before")


def test_a_hanging_point_stops_the_whole_process_until_it_is_continued() -> None:
    code = "import asyncio; from events.failpoint import at; asyncio.run(at('put.after')); print('alive')"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={"BATCHMILL_FAILPOINTS": "put.after=hang", "PYTHONPATH": "."},
        stdout=subprocess.PIPE,
    ) as hanging:
        stopped = os.waitid(os.P_PID, hanging.pid, os.WSTOPPED | os.WNOWAIT)
        assert stopped is not None
        assert stopped.si_status == signal.SIGSTOP
        hanging.send_signal(signal.SIGCONT)
        assert hanging.communicate()[0] == b"alive\n"


@pytest.mark.parametrize("text", ["flush=raise", "flush.after=explode", "flush.after"])
def test_an_unknown_point_or_action_is_refused(text: str) -> None:
    with pytest.raises(BatchmillError, match="no failpoint"):
        arm(text)


def test_a_killing_point_takes_the_whole_process_group() -> None:
    code = "import asyncio; from events.failpoint import at; asyncio.run(at('claim.after')); print('alive')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"BATCHMILL_FAILPOINTS": "claim.after=kill", "PYTHONPATH": "."},
        start_new_session=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
