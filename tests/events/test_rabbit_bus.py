"""The bus over RabbitMQ keeps the promises of every bus."""

from collections.abc import AsyncIterator

import pytest

from events.rabbit_bus import RabbitBus
from tests.events.bus_suite import *  # noqa: F403  # the suite's tests run here, on this module's bus
from tests.events.bus_suite import PATIENCE
from tests.rabbit import Broker


@pytest.fixture
async def bus(broker: Broker) -> AsyncIterator[RabbitBus]:
    """A bus of this test's own, connected."""
    rabbit = RabbitBus(broker.url, broker.topology, patience=2.0, watch=1.0)
    assert await rabbit.connect(within=PATIENCE)
    yield rabbit
    await rabbit.close()
