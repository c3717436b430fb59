"""The bus over RabbitMQ keeps the promises of every bus, and those of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from events.bus import Work
from events.buses.rabbit_bus import RabbitBus
from events.errors import BusUnavailable
from tests.events.bus_suite import *  # noqa: F403  # the suite's tests run here, on this module's bus
from tests.events.bus_suite import NOTICE, PATIENCE, Handler, placed
from tests.rabbit import ROUTES, Broker
from tests.rabbit_node import RabbitNode


@pytest.fixture
async def bus(broker: Broker) -> AsyncIterator[RabbitBus]:
    """A bus of this test's own, connected."""
    rabbit = RabbitBus(broker.url, broker.topology, patience=2.0, watch=1.0)
    assert await rabbit.connect(within=PATIENCE)
    yield rabbit
    await rabbit.close()


async def test_many_processes_declare_the_same_at_once(broker: Broker) -> None:
    buses = [RabbitBus(broker.url, broker.topology) for _ in range(8)]
    for bus in buses:
        assert await bus.connect(within=PATIENCE)
    workers = Handler()
    await asyncio.gather(
        *(bus.take_work(route, 1, workers) for bus in buses for route in ROUTES),
        *(bus.take_notices(Handler()) for bus in buses),
        *(placed(bus, Work("batch_1", number)) for number, bus in enumerate(buses)),
    )
    got = {await workers.next() for _ in buses}
    assert got == {Work("batch_1", number) for number in range(len(buses))}
    await asyncio.gather(*(bus.close() for bus in buses))


async def test_a_worker_may_want_more_in_hand_than_the_broker_hands_out(bus: RabbitBus) -> None:
    handler = Handler()
    await bus.take_work("gpu", 70_000, handler)
    await bus.offer("gpu", Work("batch_1", 1))
    assert await handler.next() == Work("batch_1", 1)


async def test_an_announcement_wakes_other_processes(bus: RabbitBus, broker: Broker) -> None:
    other = RabbitBus(broker.url, broker.topology)
    assert await other.connect(within=PATIENCE)
    woken = asyncio.Event()
    other.on_wake(lambda notices: woken.set() if list(notices) == [NOTICE] else None)
    async with asyncio.timeout(PATIENCE):
        while not woken.is_set():  # its queue may not be there yet
            await bus.announce([NOTICE])
            await asyncio.sleep(0.05)
    await other.close()


async def test_installations_with_other_prefixes_do_not_meet(bus: RabbitBus, broker: Broker) -> None:
    theirs = RabbitBus(broker.url, broker.neighbour)
    assert await theirs.connect(within=PATIENCE)
    mine, foreign = Handler(), Handler()
    await bus.take_work("gpu", 1, mine)
    await theirs.take_work("gpu", 1, foreign)
    await bus.offer("gpu", Work("batch_1", 1))
    await theirs.offer("gpu", Work("batch_2", 2))
    assert await mine.next() == Work("batch_1", 1)
    assert await foreign.next() == Work("batch_2", 2)
    await theirs.close()


async def test_a_broker_is_reached_over_tls_and_its_certificate_checked(broker_node: RabbitNode) -> None:
    async with broker_node.new_host() as url:
        secure = broker_node.secure_url(url)
        trusting = RabbitBus(f"{secure}?cafile={broker_node.certificate}")
        careful = RabbitBus(secure)
        assert await trusting.connect(within=PATIENCE)
        await trusting.offer("gpu", Work("batch_1", 1))
        assert not await careful.connect(within=1.0)
        with pytest.raises(BusUnavailable, match="no connection to the broker at amqps"):
            await careful.offer("gpu", Work("batch_1", 1))
        await trusting.close()
        await careful.close()


async def test_a_closed_bus_leaves_no_task_behind(broker: Broker) -> None:
    before = asyncio.all_tasks()
    bus = RabbitBus(broker.url, broker.topology)
    assert await bus.connect(within=PATIENCE)
    await bus.take_work("gpu", 4, Handler())
    await bus.take_notices(Handler())
    bus.on_wake(lambda _: None)
    await bus.close()
    assert asyncio.all_tasks() == before
