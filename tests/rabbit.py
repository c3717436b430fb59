"""A real RabbitMQ for the tests, and a virtual host of its own for each.

In this order: the broker that `BATCHMILL_TEST_AMQP_URL` names, a container where an engine answers, a private
node of an installed `rabbitmq-server` (`tests/rabbit_node.py`). Tests that kill, wipe or starve the broker
always take the private node.
"""

import asyncio
import gc
import os
import secrets
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aio_pika
from aio_pika.exceptions import AMQPException

from events.buses.topology import Topology
from tests.rabbit_node import START, RabbitNode, installed_server, running_node

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

CONTAINER_IMAGE = "rabbitmq:4-alpine"
PORT = 5672
ROUTES = ("gpu", "cpu")
"""The routes that tests name."""


@dataclass(frozen=True, slots=True)
class Broker:
    """One test's place on a broker: nobody else uses these names there."""

    url: str
    topology: Topology

    @property
    def neighbour(self) -> Topology:
        """Another installation on the same virtual host."""
        return Topology(prefix=f"{self.topology.prefix}-neighbour")


@asynccontextmanager
async def place_on(url: str) -> AsyncIterator[Broker]:
    """A place by its names alone, on a broker that may belong to somebody; emptied at the end."""
    broker = Broker(url, Topology(prefix=f"batchmill-test-{secrets.token_hex(6)}"))
    yield broker
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        for topology in (broker.topology, broker.neighbour):
            for queue in (topology.notices, topology.dead, *map(topology.work, ROUTES)):
                await channel.queue_delete(queue)
            for exchange in (topology.news, topology.all_events, topology.dead):
                await channel.exchange_delete(exchange)


@asynccontextmanager
async def new_place(server: str | RabbitNode) -> AsyncIterator[Broker]:
    """A place on a session's broker."""
    if isinstance(server, RabbitNode):
        async with server.new_host() as url:
            yield Broker(url, Topology())
    else:
        async with place_on(server) as place:
            yield place


@asynccontextmanager
async def shared_broker() -> AsyncIterator[str | RabbitNode]:
    """The broker that the tests of a session share: a URL, or the private node."""
    given = os.environ.get("BATCHMILL_TEST_AMQP_URL")
    if given:
        yield given
        return
    container = _started_container()
    if container is not None:
        try:
            url = (
                f"amqp://guest:guest@{container.get_container_host_ip()}:{container.get_exposed_port(PORT)}/"
            )
            async with asyncio.timeout(START):
                await _answering(url)
            yield url
        finally:
            container.stop()
        return
    async with running_node(installed_server()) as node:
        yield node


def _started_container() -> "DockerContainer | None":
    """A broker in a container, or None where no engine answers or it has no way to the image."""
    from docker.errors import DockerException  # type: ignore[import-untyped]  # it ships no types
    from testcontainers.core.container import DockerContainer

    with warnings.catch_warnings():
        # The probe of an engine that is not there leaves its socket to the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return DockerContainer(CONTAINER_IMAGE).with_exposed_ports(PORT).start()
        except DockerException:
            return None
        finally:
            gc.collect()


async def _answering(url: str) -> None:
    """Until a client gets in."""
    while True:
        try:
            await (await aio_pika.connect(url)).close()
        except (AMQPException, OSError):
            await asyncio.sleep(0.2)
        else:
            return
