"""The bus inside one process keeps the promises of every bus, and its bounds."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from events.bus import Notice, Work
from events.buses import local_bus
from events.buses.local_bus import LocalBus
from tests.events.bus_suite import *  # noqa: F403  # the suite's tests run here, on this module's bus
from tests.events.bus_suite import Handler, notices


@pytest.fixture
async def bus() -> AsyncIterator[LocalBus]:
    local = LocalBus()
    yield local
    await local.close()


async def test_of_more_work_than_anybody_takes_the_newest_is_kept(
    bus: LocalBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_bus, "CHUNKS", 3)
    for n in range(5):
        await bus.offer("gpu", Work("batch_1", n))
    handler = Handler()
    await bus.take_work("gpu", 1, handler)
    assert [await handler.next() for _ in range(3)] == [Work("batch_1", n) for n in (2, 3, 4)]


async def test_a_chunk_that_is_offered_again_and_again_waits_once(bus: LocalBus) -> None:
    for _ in range(3):
        await bus.offer("gpu", Work("batch_1", 1))
    await bus.offer("gpu", Work("batch_1", 2))
    handler = Handler()
    await bus.take_work("gpu", 1, handler)
    assert [await handler.next() for _ in range(2)] == [Work("batch_1", 1), Work("batch_1", 2)]


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
