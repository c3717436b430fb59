"""Publishing says what failed, costs nobody else anything, and goes on afterwards."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import pytest
from aio_pika import ExchangeType, Message
from aio_pika.abc import AbstractChannel
from pamqp.common import FieldTable
from structlog.testing import capture_logs
from yarl import URL

from events.buses import broker_connection
from events.buses.broker_connection import Connection, broker_calls
from events.buses.broker_link import Link
from events.buses.rabbit_publisher import Outgoing, Publisher, Refused, Unroutable
from events.buses.topology import Topology
from events.errors import BusUnavailable
from tests.chaos.proxy import place_of, proxy_to, through
from tests.events.bus_suite import PATIENCE, told
from tests.rabbit_node import RabbitNode

QUEUE = "q"
NONSENSE = b"\x01\x00\x00\x00\x00\x00\x05\x00\x0a\x00\x0a\x00\xce"
"""A frame that says less than it promises."""


@asynccontextmanager
async def running_link(url: str, patience: float = 2.0) -> AsyncIterator[Link]:
    link = Link(url, "test", patience)
    running = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def url(broker_node: RabbitNode) -> AsyncIterator[str]:
    async with broker_node.new_host() as host:
        yield host


@pytest.fixture
async def link(url: str) -> AsyncIterator[Link]:
    async with running_link(url) as link, asyncio.timeout(PATIENCE):
        await link.connection()
        yield link


@pytest.fixture
async def others(url: str) -> AsyncIterator[AbstractChannel]:
    """Somebody else's channel."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        yield channel


def messages(count: int, *, queue: str = QUEUE, mandatory: bool = True) -> Sequence[Outgoing]:
    return [Outgoing(Message(b"%d" % number), "", queue, mandatory) for number in range(count)]


async def waiting(channel: AbstractChannel) -> int | None:
    return (await channel.declare_queue(QUEUE, passive=True)).declaration_result.message_count


async def test_an_exchange_of_another_kind_costs_only_who_publishes_to_it(
    link: Link, others: AbstractChannel
) -> None:
    topology = Topology()
    await others.declare_exchange(topology.all_events, ExchangeType.FANOUT, durable=True)
    await others.declare_queue(QUEUE)
    connection = link.connection_now()
    publisher, other = Publisher(link, 2.0, topology.declare_all_events), Publisher(link, 2.0)
    for _ in range(2):
        with pytest.raises(BusUnavailable, match="PRECONDITION_FAILED"):
            await publisher.publish(messages(1, mandatory=False))
        await other.publish(messages(1))
    assert link.connection_now() is connection
    assert await waiting(others) == 2


async def test_a_full_queue_and_none_at_all_are_told_apart(link: Link, others: AbstractChannel) -> None:
    refuses: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await others.declare_queue(QUEUE, arguments=refuses)
    publisher = Publisher(link, 2.0)
    with pytest.raises(Refused, match="'q': its queue is full"):
        await publisher.publish(messages(3))
    with pytest.raises(Unroutable, match="no queue takes 'nobody'"):
        await publisher.publish(messages(3, queue="nobody"))
    assert await waiting(others) == 1


async def test_a_publish_that_is_cancelled_leaves_a_publisher_that_publishes(
    link: Link, others: AbstractChannel
) -> None:
    await others.declare_queue(QUEUE)
    publisher = Publisher(link, 2.0)
    await publisher.publish(messages(1))
    for turns in range(20):
        publishing = asyncio.create_task(publisher.publish(messages(10)))
        for _ in range(turns):
            await asyncio.sleep(0)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        await publisher.publish(messages(1))
    assert (await waiting(others) or 0) >= 21


async def test_a_publish_whose_connection_is_lost_fails_and_the_next_goes_out(
    link: Link, others: AbstractChannel, broker_node: RabbitNode, url: str
) -> None:
    await others.declare_queue(QUEUE, durable=True)
    publisher = Publisher(link, 2.0)
    publishing = asyncio.create_task(publish_until_it_fails(publisher))
    broker_node.close_connections()
    with pytest.raises(BusUnavailable):
        await publishing
    await published(publisher)


async def test_a_connection_that_takes_nothing_any_more_is_broken_off(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_connection, "CLOSING", 0.1)
    much = [Outgoing(Message(bytes(2**20)), "", "nobody", mandatory=False)] * 32  # more than sockets hold
    async with (
        proxy_to(place_of(url)) as proxy,
        running_link(through(proxy, url), patience=0.2) as link,
        asyncio.timeout(PATIENCE),
    ):
        stalled = await link.connection()
        publisher = Publisher(link, 0.2)
        await published(publisher)
        for passage in proxy.passages:
            passage.stall()
        with pytest.raises(BusUnavailable):
            await publisher.publish(much)
        await published(publisher)
        assert link.connection_now() is not stalled


async def publish_until_it_fails(publisher: Publisher) -> None:
    while True:
        await publisher.publish(messages(100))


async def published(publisher: Publisher) -> None:
    """Tries until it is."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await publisher.publish(messages(1, mandatory=False))
            except BusUnavailable:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("login", "change", "reason"),
    [
        ("ada:hush", {}, "ACCESS_REFUSED"),
        ("guest:guest", {"path": "/nowhere"}, "its virtual host does not exist"),
        ("ada:hush", {"netloc": "127.0.0.1:1"}, "Connect call failed"),
        ("ada:hush", {"scheme": "amqps"}, "SSL"),
    ],
)
async def test_why_there_is_no_connection_is_told_without_the_login(
    url: str, login: str, change: dict[str, str], reason: str
) -> None:
    parts = urlsplit(url)
    parts = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="keyfile=hush")._replace(**change)
    wrong = urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))
    with capture_logs() as logs:
        async with running_link(wrong) as link:
            await told(logs, reason)
            with pytest.raises(
                BusUnavailable, match=r"no connection to the broker at amqps?://127\.0\.0\.1:"
            ):
                link.connection_now()
    assert "hush" not in repr(logs)


@pytest.mark.parametrize(
    "said", [b"", b"\x15\x03\x03\x00\x02\x02\x46", NONSENSE], ids=["nothing", "TLS", "AMQP"]
)
async def test_a_peer_that_is_no_broker_is_a_broker_that_is_away(said: bytes) -> None:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    connection = Connection(
        URL.build(scheme="amqp", host="127.0.0.1", port=server.sockets[0].getsockname()[1]), "test"
    )
    with pytest.raises(BusUnavailable, match="not connected: "):
        await connection.open(2.0, "not connected")
    server.close()


async def test_a_peer_that_hangs_up_in_between_is_one_too() -> None:
    with pytest.raises(BusUnavailable, match="not connected"):
        async with broker_calls(1.0, "not connected"):
            raise StopAsyncIteration  # what the client library says then


@pytest.mark.parametrize("made", [aio_pika.exceptions.AMQPConnectionError("closed"), None])
async def test_a_call_that_was_cancelled_is_cancelled_whatever_the_client_library_makes_of_it(
    made: Exception | None,
) -> None:
    begun = asyncio.Event()

    async def call() -> None:
        async with broker_calls(60.0, "not published"):
            try:
                begun.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError as cancelled:  # as it does where the connection is lost meanwhile
                if made is not None:
                    raise made from cancelled

    calling = asyncio.create_task(call())
    await begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
