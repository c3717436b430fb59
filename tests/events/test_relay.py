"""The relay gives others every event of the log, as documented."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import aio_pika
import asyncpg
import jsonschema  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
from aio_pika.abc import AbstractIncomingMessage
from pamqp.common import FieldTable
from structlog.testing import capture_logs

from events.buses import relay as relay_module
from events.buses.rabbit_bus import RabbitBus
from events.buses.relay import Relay
from events.catalog import TYPES
from events.event import NewEvent
from events.follower import Follower
from events.incarnation import begin_incarnation, current_incarnation
from tests.events.bus_suite import PATIENCE, told
from tests.events.stage import PROJECT, TRACEPARENT, Stage, flush_of
from tests.postgres import Database
from tests.rabbit import Broker
from tests.rabbit_node import RabbitNode

GOLDEN = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[2] / "docs"
STREAMS = {
    "Batch": "batch_1",
    "Lines": "batch_1",
    "File": "file-1",
    "Key": "key_1",
    "Upload": "upload_1",
    "Webhook": "we_1",
    "Audit": "audit-keys",
    "Content": "reads-default",
}


class Shape(msgspec.Struct):
    """A golden file: one shape that an event was ever written in."""

    type: str
    data: str


def shapes() -> list[Shape]:
    return [msgspec.json.decode(path.read_bytes(), type=Shape) for path in sorted(GOLDEN.glob("*.json"))]


def stream_of(type_: str) -> str:
    return next(stream for prefix, stream in STREAMS.items() if type_.startswith(prefix))


def relay_of(stage: Stage, bus: RabbitBus) -> Follower:
    """The relay as a leader runs it."""
    relay = Relay(
        bus.publisher(bus.topology.declare_all_events),
        bus.topology.all_events,
        partial(current_incarnation, stage.database),
    )
    return Follower("relay", stage.log, stage.models, relay.handle)


async def relay_all(relay: Follower) -> None:
    async with asyncio.timeout(2 * PATIENCE):
        while await relay.step(None):
            pass


async def heard(relay: Follower, first: str, consumer: asyncio.StreamReader) -> None:
    """Relays the log from its beginning, again and again, until the consumer has bound its queue and says so
    by the log's one event."""
    while True:
        relay.position = 0
        await relay_all(relay)
        try:
            async with asyncio.timeout(0.5):
                assert (await consumer.readline()).decode().startswith(f"{first} 1 ")
        except TimeoutError:
            continue
        return


@pytest.fixture
async def bus(broker: Broker) -> AsyncIterator[RabbitBus]:
    rabbit = RabbitBus(broker.url, broker.topology, patience=2.0)
    assert await rabbit.connect(within=PATIENCE)
    yield rabbit
    await rabbit.close()


class Listener:
    """Somebody with a queue on the exchange of all events."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.got: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def __aenter__(self) -> "Listener":
        self._connection = await aio_pika.connect(self._broker.url)
        channel = await self._connection.channel()
        await self._broker.topology.declare_all_events(channel)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(self._broker.topology.all_events, "#")
        await queue.consume(self.got.put, no_ack=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def next(self) -> AbstractIncomingMessage:
        async with asyncio.timeout(PATIENCE):
            return await self.got.get()


async def test_an_event_is_a_cloud_event_in_binary_mode(stage: Stage, bus: RabbitBus, broker: Broker) -> None:
    file_id = await stage.file("file-1", project="research")
    [recorded] = await stage.log.read(after=0, limit=10)
    async with Listener(broker) as listener:
        await relay_all(relay_of(stage, bus))
        got = await listener.next()
    assert got.routing_key == "file.FileCreated.research"
    assert (got.content_type, got.delivery_mode) == ("application/json", 2)
    assert got.message_id == str(recorded.event_id)
    assert got.body.decode() == recorded.data
    assert got.headers == {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": str(recorded.event_id),
        "cloudEvents_source": f"/batchmill/logs/{await current_incarnation(stage.database)}",
        "cloudEvents_type": "batchmill.FileCreated",
        "cloudEvents_subject": file_id,
        "cloudEvents_time": recorded.recorded_at.isoformat().replace("+00:00", "Z"),
        "cloudEvents_dataschema": "urn:batchmill:event:FileCreated",
        "cloudEvents_project": "research",
        "cloudEvents_actor": "key_1",
        "cloudEvents_traceparent": TRACEPARENT,
        "cloudEvents_streamversion": 1,
        "cloudEvents_position": "1",
    }


async def test_every_event_that_is_sent_fits_the_schema_of_its_type(
    stage: Stage, bus: RabbitBus, broker: Broker
) -> None:
    current = [shape for shape in shapes() if shape.type in TYPES]
    assert {shape.type for shape in current} == set(TYPES)
    for shape in current:
        await stage.log.append([NewEvent(uuid4(), stream_of(shape.type), PROJECT, shape.type, shape.data)])
    async with Listener(broker) as listener:
        await relay_all(relay_of(stage, bus))
        for shape in current:
            got = await listener.next()
            schema = (DOCS / "reference" / "events" / f"{shape.type}.json").read_bytes()
            described = msgspec.json.decode(schema)
            assert got.headers["cloudEvents_dataschema"] == described["$id"]
            jsonschema.validate(msgspec.json.decode(got.body), described)


async def test_events_come_in_the_order_of_the_log(stage: Stage, bus: RabbitBus, broker: Broker) -> None:
    for _ in range(300):
        await stage.file()
    async with Listener(broker) as listener:
        await relay_all(relay_of(stage, bus))
        positions = [(await listener.next()).headers["cloudEvents_position"] for _ in range(300)]
    assert positions == [str(position) for position in range(1, 301)]
    assert await stage.models.checkpoint("relay") == 300


async def test_of_a_log_that_went_back_others_get_the_events_under_another_name(
    stage: Stage, bus: RabbitBus, broker: Broker, database: Database
) -> None:
    for _ in range(3):
        await stage.file()
    lost = [event.event_id for event in await stage.log.read(after=1)]
    async with Listener(broker) as listener:
        await relay_all(relay_of(stage, bus))
        before = [await listener.next() for _ in range(3)]
        superuser = await asyncpg.connect(database.superuser_url)
        await superuser.execute("SET session_replication_role = replica")
        await superuser.execute("DELETE FROM events WHERE position > 1; UPDATE checkpoints SET position = 1")
        await superuser.close()
        fork = await begin_incarnation(database.owner_url, "restored")
        for _ in range(2):
            await stage.file()
        relay = relay_of(stage, bus)
        relay.position = await stage.models.checkpoint("relay")
        await relay_all(relay)
        after = [await listener.next() for _ in range(2)]
    places = [
        (message.headers["cloudEvents_source"], message.headers["cloudEvents_position"])
        for message in (*before, *after)
    ]
    assert len(set(places)) == 5
    assert {source for source, _ in places[3:]} == {f"/batchmill/logs/{fork.id}"}
    assert not {message.message_id for message in after} & {str(id) for id in lost}


async def test_without_a_broker_the_relay_waits_and_leaves_nothing_out(
    stage: Stage, broker_node: RabbitNode
) -> None:
    await stage.file()
    async with broker_node.new_host() as url:
        await broker_node.stop()
        bus = RabbitBus(url, patience=1.0)
        relaying = asyncio.create_task(relay_all(relay_of(stage, bus)))
        await stage.file()
        assert await stage.models.checkpoint("relay") == 0
        await broker_node.start()
        await relaying
        assert await stage.models.checkpoint("relay") == 2
        await bus.close()


async def test_a_queue_that_refuses_what_it_has_no_room_for_gets_everything_in_the_end_and_in_order(
    stage: Stage, bus: RabbitBus, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "PAUSE", 0.01)
    for _ in range(5):
        await stage.file()
    async with await aio_pika.connect(broker.url) as connection, connection.channel() as channel:
        await broker.topology.declare_all_events(channel)
        one_place: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await channel.declare_queue(exclusive=True, arguments=one_place)
        await queue.bind(broker.topology.all_events, "#")
        got: list[int] = []
        with capture_logs() as logs:
            relaying = asyncio.create_task(relay_all(relay_of(stage, bus)))
            await told(logs, "is full")
        async with asyncio.timeout(PATIENCE):
            while len(set(got)) < 5:
                message = await queue.get(no_ack=True, fail=False)
                if message is not None:
                    got.append(int(str(message.headers["cloudEvents_position"])))
        await relaying
    assert list(dict.fromkeys(got)) == [1, 2, 3, 4, 5]


async def test_the_consumer_of_the_documentation_gets_every_event_of_a_batch_in_order(
    stage: Stage, broker_node: RabbitNode, tmp_path: Path
) -> None:
    page = (DOCS / "how-to" / "consume-events.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    program = tmp_path / "consumer.py"
    program.write_text(code, encoding="utf-8")
    async with broker_node.new_host() as url:
        consumer = await asyncio.create_subprocess_exec(
            sys.executable, program, env={**os.environ, "AMQP_URL": url}, stdout=asyncio.subprocess.PIPE
        )
        bus = RabbitBus(url, patience=2.0)
        try:
            assert consumer.stdout is not None
            async with asyncio.timeout(2 * PATIENCE):
                relay = relay_of(stage, bus)
                await heard(relay, await stage.new_batch(), consumer.stdout)
                batch_id = await stage.running_batch(lines=4)
                [claim] = await stage.claims(batch_id, [0, 4])
                await relay_all(relay)
                for line in range(4):
                    await stage.log.flush([flush_of(claim, [line])])
                broker_node.close_connections()
                await stage.finalize(batch_id)
                await stage.complete(batch_id, None)
                await relay_all(relay)
                told = [(await consumer.stdout.readline()).decode().split(" ", 3) for _ in range(8)]
        finally:
            consumer.kill()
            await consumer.communicate()
            await bus.close()
    recorded = await stage.log.stream(batch_id)
    assert told == [[e.stream_id, str(e.version), f"batchmill.{e.type}", f"{e.data}\n"] for e in recorded]
