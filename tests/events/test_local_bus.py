"""The bus inside one process keeps the promises of every bus, and its bounds."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from events import local_bus
from events.bus import Notice, Work
from events.errors import BusUnavailable
from events.local_bus import LocalBus
from tests.events.bus_suite import *  # noqa: F403  # the suite's tests run here, on this module's bus
from tests.events.bus_suite import Handler, notices


@pytest.fixture
async def bus() -> AsyncIterator[LocalBus]:
    local = LocalBus()
    yield local
    await local.close()


async def test_more_work_than_anybody_takes_is_refused(
    bus: LocalBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_bus, "CHUNKS", 3)
    for n in range(3):
        await bus.offer("gpu", Work("batch_1", n))
    with pytest.raises(BusUnavailable, match="route 'gpu' has 3 chunks waiting"):
        await bus.offer("gpu", Work("batch_1", 4))
    await bus.offer("cpu", Work("batch_1", 4))


async def test_of_more_notices_than_anybody_takes_the_newest_are_kept() -> None:
    bus = LocalBus()
    await bus.announce(notices(local_bus.NOTICES + 2))
    handler = Handler()
    await bus.take_notices(handler)
    first = await handler.next()
    assert isinstance(first, Notice)
    assert first.position == 2
    await bus.close()


async def test_a_closed_bus_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    bus = LocalBus()
    await bus.take_work("gpu", 4, Handler())
    await bus.take_notices(Handler())
    await bus.close()
    assert asyncio.all_tasks() == before
