"""What the bus does when the broker stops, dies, forgets, chokes or falls silent: it costs time, and every
subscription takes messages again. Each with a real broker."""

import asyncio
from collections.abc import AsyncIterator

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from events.bus import Notice, Work
from events.buses import broker_connection
from events.buses.broker_link import Link
from events.buses.rabbit_bus import RabbitBus
from events.buses.rabbit_subscription import Subscription
from events.buses.topology import NOTICE, Topology
from events.errors import BusUnavailable
from events.origin import PROCESS
from tests.events.bus_suite import NOTICE as A_NOTICE
from tests.events.bus_suite import PATIENCE, Handler, placed
from tests.rabbit_node import RabbitNode


@pytest.fixture
async def url(broker_node: RabbitNode) -> AsyncIterator[str]:
    """A virtual host on a node that the test may do anything to."""
    async with broker_node.new_host() as host:
        yield host


@pytest.fixture
async def bus(url: str) -> AsyncIterator[RabbitBus]:
    rabbit = RabbitBus(url, patience=1.0, watch=0.5)
    assert await rabbit.connect(within=PATIENCE)
    yield rabbit
    await rabbit.close()


async def offered_without_end(bus: RabbitBus) -> None:
    """The first messages to a broker without memory may still get through."""
    while True:
        await bus.offer("gpu", Work("batch_1", 2))


async def refused_for_want_of_a_connection(bus: RabbitBus) -> None:
    """Offers until it is refused at once; a broker that does not answer refuses late."""
    while True:
        try:
            await bus.offer("gpu", Work("batch_1", 2))
        except BusUnavailable as error:
            if "no answer" not in str(error):
                raise


async def arrives(handler: Handler, message: Work | Notice) -> None:
    """Messages are repeated where the broker cannot know whether they were handled."""
    while await handler.next() != message:
        pass


async def works(bus: RabbitBus, workers: Handler, readers: Handler, number: int) -> None:
    """Work is placed and comes, a notice is announced and comes."""
    await placed(bus, Work("batch_1", number))
    await arrives(workers, Work("batch_1", number))
    while True:
        await bus.announce([Notice("batch_1", "BatchCreated", number)])
        try:
            async with asyncio.timeout(1.0):
                await arrives(readers, Notice("batch_1", "BatchCreated", number))
        except TimeoutError:
            continue
        return


async def test_a_bus_begins_without_a_broker_and_works_when_there_is_one(
    url: str, broker_node: RabbitNode
) -> None:
    await broker_node.stop()
    bus = RabbitBus(url, patience=1.0)
    workers, readers = Handler(), Handler()
    woken = asyncio.Event()
    bus.on_wake(lambda _: woken.set())
    await bus.take_work("gpu", 2, workers)
    await bus.take_notices(readers)
    await bus.announce([A_NOTICE])
    assert woken.is_set(), "this process is woken without a broker"
    with pytest.raises(BusUnavailable, match="no connection to the broker at amqp"):
        await bus.offer("gpu", Work("batch_1", 1))
    await broker_node.start()
    await placed(bus, Work("batch_1", 1))
    await arrives(workers, Work("batch_1", 1))
    await arrives(readers, A_NOTICE)
    await bus.close()


@pytest.mark.soak  # one that forgets everything restarts as well
async def test_a_broker_that_restarts_costs_time(bus: RabbitBus, broker_node: RabbitNode) -> None:
    workers, readers = Handler(), Handler()
    await bus.take_work("gpu", 2, workers)
    await bus.take_notices(readers)
    await works(bus, workers, readers, 1)
    await broker_node.stop()
    await bus.announce([A_NOTICE])
    await broker_node.start()
    await works(bus, workers, readers, 2)


async def test_a_broker_that_forgot_everything_is_told_anew(bus: RabbitBus, broker_node: RabbitNode) -> None:
    workers, readers = Handler(), Handler()
    await bus.take_work("gpu", 2, workers)
    await bus.take_notices(readers)
    await works(bus, workers, readers, 1)
    await broker_node.wipe()
    await works(bus, workers, readers, 2)


async def test_connections_that_are_closed_are_opened_again(bus: RabbitBus, broker_node: RabbitNode) -> None:
    workers, readers = Handler(), Handler()
    await bus.take_work("gpu", 2, workers)
    await bus.take_notices(readers)
    for number in range(3):
        await works(bus, workers, readers, number)
        broker_node.close_connections()
    await works(bus, workers, readers, 3)


async def test_an_operator_sees_whose_connections_are_whose(bus: RabbitBus, broker_node: RabbitNode) -> None:
    names = broker_node.told_of_connections()
    assert f"batchmill {PROCESS} publishes" in names
    assert f"batchmill {PROCESS} takes" in names


async def test_a_chunk_in_hand_when_the_connection_goes_comes_again(
    bus: RabbitBus, broker_node: RabbitNode
) -> None:
    workers = Handler(holds=True)
    await bus.take_work("gpu", 2, workers)
    await placed(bus, Work("batch_1", 1))
    await arrives(workers, Work("batch_1", 1))
    broker_node.close_connections()
    await arrives(workers, Work("batch_1", 1))
    workers.released.set()
    await placed(bus, Work("batch_1", 2))
    await arrives(workers, Work("batch_1", 2))


async def test_a_channel_that_the_broker_closes_for_an_error_is_replaced(bus: RabbitBus, url: str) -> None:
    link = Link(url, "test", patience=1.0)
    running = asyncio.create_task(link.run())
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(message: AbstractIncomingMessage) -> None:
        got.put_nowait(message.body)
        await message.ack()
        channel = message.channel
        await channel.basic_ack(message.delivery_tag or 0)  # once too often: the broker closes the channel

    subscription = Subscription(link, Topology().declare_notices, take, hands=1, patience=1.0, watch=PATIENCE)
    await bus.announce([Notice("batch_1", "BatchCreated", 1)])
    async with asyncio.timeout(PATIENCE):
        assert b'"position":1' in await got.get()
        await bus.announce([Notice("batch_1", "BatchCreated", 2)])
        while b'"position":2' not in await got.get():
            pass
    await subscription.end()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_exchange_that_is_gone_is_declared_again(bus: RabbitBus, url: str) -> None:
    workers, readers = Handler(), Handler()
    await bus.take_work("gpu", 1, workers)
    await bus.take_notices(readers)
    await works(bus, workers, readers, 1)
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        await channel.exchange_delete(bus.topology.news)
    await works(bus, workers, readers, 2)


async def test_queues_deleted_under_their_consumers_are_declared_again(bus: RabbitBus, url: str) -> None:
    workers, readers = Handler(), Handler()
    await bus.take_work("gpu", 2, workers)
    await bus.take_notices(readers)
    await works(bus, workers, readers, 1)
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        await channel.queue_delete(bus.topology.work("gpu"))
        await channel.queue_delete(bus.topology.notices)
    await works(bus, workers, readers, 2)


async def test_a_consumer_that_the_broker_forgot_without_a_word_is_found_by_the_watch(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A client that does not say it understands that is not told that its consumer is cancelled.
    monkeypatch.setitem(broker_connection.PROPERTIES, "capabilities", {"publisher_confirms": True})
    bus = RabbitBus(url, patience=1.0, watch=0.2)
    assert await bus.connect(within=PATIENCE)
    workers = Handler()
    await bus.take_work("gpu", 2, workers)
    await placed(bus, Work("batch_1", 1))
    await arrives(workers, Work("batch_1", 1))
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        await channel.queue_delete(bus.topology.work("gpu"))
    await placed(bus, Work("batch_1", 2))
    await arrives(workers, Work("batch_1", 2))
    await bus.close()


async def test_a_queue_that_never_answers_is_deleted_and_declared_again(
    bus: RabbitBus, broker_node: RabbitNode
) -> None:
    workers = Handler()
    await bus.take_work("gpu", 2, workers)
    await broker_node.kill()  # so soon after the declaration, the queue is there afterwards and mute
    await broker_node.start()
    await placed(bus, Work("batch_1", 1))
    await arrives(workers, Work("batch_1", 1))


async def test_a_queue_that_somebody_has_for_themselves_is_not_deleted(url: str) -> None:
    tries: asyncio.Queue[None] = asyncio.Queue()
    gone = asyncio.Event()

    async def declare(channel: AbstractChannel) -> AbstractQueue:
        tries.put_nowait(None)
        return await channel.declare_queue("theirs")

    async def take(message: AbstractIncomingMessage) -> None:
        raise AssertionError(message)

    link = Link(url, "test", patience=1.0)
    running = asyncio.create_task(link.run())
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(lambda _: gone.set())
        await (await channel.declare_queue("theirs")).consume(take, exclusive=True)
        subscription = Subscription(link, declare, take, hands=1, patience=1.0, watch=PATIENCE)
        async with asyncio.timeout(PATIENCE):
            for _ in range(4):  # each is refused
                await tries.get()
        await subscription.end()
        assert not gone.is_set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_broker_without_memory_delays_what_is_offered_until_it_has_some(
    bus: RabbitBus, broker_node: RabbitNode
) -> None:
    workers, readers = Handler(), Handler()
    await bus.take_work("gpu", 2, workers)
    await bus.take_notices(readers)
    await works(bus, workers, readers, 1)
    broker_node.raise_alarm()
    with pytest.raises(BusUnavailable, match="no answer within 1 s"):
        await offered_without_end(bus)
    with pytest.raises(BusUnavailable, match="is short of memory or disk"):
        await bus.offer("gpu", Work("batch_1", 2))
    await bus.announce([A_NOTICE])
    broker_node.end_alarm()
    await works(bus, workers, readers, 3)


async def test_a_broker_that_stands_still_is_left_and_found_again(
    bus: RabbitBus, broker_node: RabbitNode
) -> None:
    workers, readers = Handler(), Handler()
    await bus.take_work("gpu", 2, workers)
    await bus.take_notices(readers)
    await works(bus, workers, readers, 1)
    broker_node.freeze()
    with pytest.raises(BusUnavailable, match="no connection"):
        async with asyncio.timeout(PATIENCE):
            await refused_for_want_of_a_connection(bus)
    broker_node.thaw()
    await works(bus, workers, readers, 2)


async def test_a_subscription_cancelled_without_a_broker_stays_cancelled(
    bus: RabbitBus, broker_node: RabbitNode
) -> None:
    leaving, staying = Handler(holds=True), Handler()
    subscription = await bus.take_work("gpu", 1, leaving)
    await placed(bus, Work("batch_1", 1))
    await arrives(leaving, Work("batch_1", 1))
    await broker_node.stop()
    await subscription.cancel()
    await broker_node.start()
    await bus.take_work("gpu", 1, staying)
    for number in range(2, 5):
        await placed(bus, Work("batch_1", number))
        await arrives(staying, Work("batch_1", number))
    assert leaving.got.empty()


async def test_a_notice_that_nobody_can_read_is_dropped_and_such_a_chunk_is_a_dead_letter(
    bus: RabbitBus, url: str
) -> None:
    workers, readers = Handler(), Handler()
    await bus.take_work("gpu", 1, workers)
    await bus.take_notices(readers)
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        garbage = aio_pika.Message(b"{")
        await channel.default_exchange.publish(garbage, bus.topology.work("gpu"))
        await (await channel.get_exchange(bus.topology.news)).publish(garbage, NOTICE)
        await works(bus, workers, readers, 1)
        letters: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        await (await channel.get_queue(bus.topology.dead)).consume(letters.put, no_ack=True)
        async with asyncio.timeout(PATIENCE):
            assert (await letters.get()).body == b"{"


async def test_announcing_never_waits_for_a_broker_that_does_not_answer() -> None:
    hosts: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: hosts.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    bus = RabbitBus(f"amqp://guest:guest@127.0.0.1:{port}/", patience=PATIENCE)
    loop = asyncio.get_running_loop()
    turned = asyncio.Event()
    loop.call_soon(turned.set)
    for _ in range(1000):
        await bus.announce([A_NOTICE])
    assert not turned.is_set(), "announcing does not even give way"
    await bus.close()
    silent.close()
    for host in hosts:
        host.close()
    await silent.wait_closed()
