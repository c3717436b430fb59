"""What a leader has for webhooks, on a real database, and what clients do there."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network

import pytest

from engine.webhooks.announcer import WebhookAnnouncer
from engine.webhooks.poster import WebhookPoster
from engine.webhooks.sender import Schedule, WebhookSender
from events.batch import BatchCompleted, BatchFinalizing
from events.buses.local_bus import LocalBus
from events.catalog import Event, new_event
from events.follower import Follower
from events.journal import Decision, Journal
from events.log import Board, Row
from events.webhooks.deliveries import Delivery, WebhookDeliveries
from events.webhooks.endpoint import (
    DeleteWebhookEndpoint,
    WebhookEndpoint,
    WebhookEndpointCommand,
    WebhookEndpointCreated,
    decide,
    fresh_endpoint_id,
)
from events.webhooks.event import WEBHOOK_TYPES
from events.webhooks.post import PostAnswer, WebhookPost
from events.webhooks.public_address import AddressRule
from events.webhooks.secret import WebhookKey
from tests.events.stage import PROJECT, Stage, open_stage
from tests.postgres import Database
from tests.receiver import PATIENCE

KEY = WebhookKey("the key of this installation")


def at_once(attempts: int, _: float) -> float | None:
    """A schedule without waits: five attempts."""
    return 0.0 if attempts < 5 else None


class Saying:
    """A post whose receiver always answers alike. `sent` counts its messages."""

    def __init__(self, status: int) -> None:
        self._status = status
        self.sent = 0

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> PostAnswer:
        self.sent += 1
        return PostAnswer(self._status)


class Mailroom:
    """What a leader has for webhooks, on a database; and what a client does there."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.journal = Journal(stage.log, stage.models, LocalBus())
        self.deliveries = WebhookDeliveries(stage.database)
        self.announcer = WebhookAnnouncer(stage.models, self.deliveries, lambda: self.wake())
        self.wake: Callable[[], None] = lambda: None
        self.secrets: dict[str, str] = {}

    async def endpoint(self, url: str, *types: str, project: str = PROJECT) -> str:
        id = fresh_endpoint_id()
        self.secrets[id], trace = KEY.fresh(id)
        created = WebhookEndpointCreated("n", url, types or WEBHOOK_TYPES, trace)
        row = Row("webhook_endpoint", id, project)
        await self.journal.record(Decision([new_event(id, project, created)], rows=[row], expect={id: 0}))
        return id

    async def command(self, id: str, command: WebhookEndpointCommand) -> None:
        hidden = isinstance(command, DeleteWebhookEndpoint)
        await self.journal.carry_out(
            WebhookEndpoint,
            id,
            lambda seen: Decision(
                [new_event(id, seen.project_id, event) for event in decide(seen.state, command)],
                rows=[Row("webhook_endpoint", id, seen.project_id, hidden=True)] if hidden else [],
            ),
        )

    async def ended_batch(self, project: str = PROJECT) -> str:
        batch_id = await self.stage.running_batch(1, project)
        ends: list[Event] = [BatchFinalizing("done"), BatchCompleted("file-1", None)]
        await self.stage.log.append(
            [new_event(batch_id, project, event) for event in ends], board=Board(batch_id, project, None)
        )
        return batch_id

    async def announce(self) -> None:
        """Follows the log to its end."""
        follower = Follower("webhooks", self.stage.log, self.stage.models, self.announcer.handle)
        follower.position = await self.stage.models.checkpoint("webhooks")
        while await follower.step(None):
            pass

    async def delivery(self, endpoint_id: str) -> Delivery:
        """The one delivery of an endpoint, or the first that was made of several."""
        found, _ = await self.deliveries.page(endpoint_id, after=None, limit=9)
        return found[-1]

    async def settled(self, endpoint_id: str, holds: Callable[[Delivery], bool]) -> Delivery:
        """The one delivery of an endpoint, or the first that was made, as soon as something holds of it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await self.delivery(endpoint_id)
                if holds(found):
                    return found
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def sending(
        self,
        *,
        schedule: Schedule = at_once,
        key: WebhookKey | None = KEY,
        networks: tuple[str, ...] = ("127.0.0.0/8",),
        by: WebhookPost | None = None,
        clock: Callable[[], float] = time.time,
    ) -> AsyncIterator[None]:
        """A leader sends for as long as the block runs, over HTTP unless `by` something else."""
        http = WebhookPoster(AddressRule([ip_network(n) for n in networks]), "test")
        sender = WebhookSender(self.journal, self.deliveries, by or http, key, schedule=schedule, clock=clock)
        self.wake = sender.wake
        running = asyncio.create_task(sender.run(await self.stage.lead("lead")))
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await http.close()


@pytest.fixture
async def mailroom(database: Database) -> AsyncIterator[Mailroom]:
    """The mailroom of a stage on an empty log."""
    async with open_stage(database.app_url) as stage:
        yield Mailroom(stage)
