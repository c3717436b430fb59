"""Messages on their way to webhook endpoints, in the database."""

import asyncpg
import pytest

from events.errors import LeadershipLost, NotFound
from events.log import Leadership
from events.webhooks.deliveries import KEPT, DueDelivery, NewDelivery, Settled, WebhookDeliveries
from events.webhooks.event import Announcement, delivery_id
from tests.events.stage import PROJECT, Stage
from tests.postgres import Database

NOW = 4_000_000_000
"""Far from the past."""


def message(event: str = "evt_1", endpoint: str = "we_1", happened_at: int = NOW) -> NewDelivery:
    announced = Announcement(event, "batch.completed", "batch_1", happened_at)
    return NewDelivery(delivery_id(event, endpoint), endpoint, PROJECT, announced)


@pytest.fixture
def deliveries(stage: Stage) -> WebhookDeliveries:
    return WebhookDeliveries(stage.database)


@pytest.fixture
async def leadership(stage: Stage) -> Leadership:
    return await stage.lead("lead")


async def only_due(deliveries: WebhookDeliveries) -> DueDelivery:
    [due] = await deliveries.due([], 9)
    return due


async def test_a_message_is_added_once_and_due_at_once(deliveries: WebhookDeliveries) -> None:
    for _ in range(2):
        await deliveries.add([message(), message("evt_2")])
    due = await deliveries.due([], 9)
    assert {d.announcement.id for d in due} == {"evt_1", "evt_2"}
    assert due[0].announcement in (message().announcement, message("evt_2").announcement)


async def test_what_is_taken_is_not_made_due_by_being_announced_again(
    deliveries: WebhookDeliveries, leadership: Leadership
) -> None:
    await deliveries.add([message()])
    await deliveries.settle(leadership, await only_due(deliveries), Settled("delivered", status=204))
    await deliveries.add([message()])
    assert await deliveries.due([], 9) == []
    delivery = await deliveries.get("we_1", message().id)
    assert (delivery.state, delivery.attempts, delivery.status) == ("delivered", 1, 204)
    assert delivery.due_at is None
    assert delivery.attempted_at is not None


async def test_what_is_older_than_rows_are_kept_is_not_announced(deliveries: WebhookDeliveries) -> None:
    await deliveries.add([message(happened_at=1_000)])
    assert await deliveries.due([], 9) == []


async def test_a_long_queue_of_one_endpoint_hides_no_other(deliveries: WebhookDeliveries) -> None:
    await deliveries.add([message(f"evt_{n}", "we_1") for n in range(20)])
    await deliveries.add([message("evt_1", f"we_{n}") for n in range(2, 5)])
    found = await deliveries.due([], 2)
    assert sorted(d.endpoint_id for d in found) == ["we_1", "we_1", "we_2", "we_3", "we_4"]
    under_way = [d.id for d in found if d.endpoint_id == "we_1"]
    more = [d.id for d in await deliveries.due(under_way, 2) if d.endpoint_id == "we_1"]
    assert len(more) == 2
    assert not set(more) & set(under_way)


async def test_what_was_not_taken_is_due_later(deliveries: WebhookDeliveries, leadership: Leadership) -> None:
    await deliveries.add([message()])
    await deliveries.settle(
        leadership, await only_due(deliveries), Settled("pending", 3600.0, 500, "it fell")
    )
    assert await deliveries.due([], 9) == []
    delivery = await deliveries.get("we_1", message().id)
    assert (delivery.state, delivery.status, delivery.error) == ("pending", 500, "it fell")
    assert delivery.due_at is not None
    assert delivery.due_at > delivery.created_at + 3000


async def test_what_could_not_be_sent_costs_no_attempt(
    deliveries: WebhookDeliveries, leadership: Leadership
) -> None:
    await deliveries.add([message()])
    settled = Settled("pending", 0.0, error="no key", tried=False)
    await deliveries.settle(leadership, await only_due(deliveries), settled)
    due = await only_due(deliveries)
    assert (due.attempts, due.in_a_row) == (0, 0)
    assert (await deliveries.get("we_1", due.id)).attempted_at is None


async def test_an_attempt_is_settled_once(deliveries: WebhookDeliveries, leadership: Leadership) -> None:
    await deliveries.add([message()])
    due = await only_due(deliveries)
    await deliveries.settle(leadership, due, Settled("pending", 0.0, 500, "first"))
    await deliveries.settle(leadership, due, Settled("failed", None, 500, "late"))
    assert (await deliveries.get("we_1", due.id)).error == "first"


async def test_who_leads_no_more_settles_nothing(
    deliveries: WebhookDeliveries, leadership: Leadership, stage: Stage
) -> None:
    await deliveries.add([message()])
    due = await only_due(deliveries)
    await stage.lead("lead")
    with pytest.raises(LeadershipLost):
        await deliveries.settle(leadership, due, Settled("delivered", status=200))
    assert (await only_due(deliveries)).attempts == 0


async def test_a_message_is_sent_again_when_it_is_asked_for(
    deliveries: WebhookDeliveries, leadership: Leadership
) -> None:
    await deliveries.add([message()])
    await deliveries.settle(leadership, await only_due(deliveries), Settled("failed", None, 500, "given up"))
    again = await deliveries.redeliver("we_1", message().id)
    assert again.state == "pending"
    due = await only_due(deliveries)
    assert (due.id, due.attempts, due.in_a_row) == (message().id, 1, 0)
    for endpoint, id in (("we_2", message().id), ("we_1", "wh_none")):
        with pytest.raises(NotFound):
            await deliveries.redeliver(endpoint, id)


async def test_messages_are_listed_newest_first_and_page_by_page(deliveries: WebhookDeliveries) -> None:
    made = [message(f"evt_{n}") for n in range(5)]
    for one in made:
        await deliveries.add([one])
    await deliveries.add([message("evt_9", "we_2")])
    first, more = await deliveries.page("we_1", after=None, limit=3)
    rest, end = await deliveries.page("we_1", after=first[-1].id, limit=3)
    assert [d.event_id for d in [*first, *rest]] == ["evt_4", "evt_3", "evt_2", "evt_1", "evt_0"]
    assert (more, end) == (True, False)
    with pytest.raises(NotFound):
        await deliveries.page("we_2", after=first[0].id, limit=3)


async def test_what_ended_long_ago_is_forgotten(
    deliveries: WebhookDeliveries, leadership: Leadership, database: Database
) -> None:
    await deliveries.add([message("evt_1"), message("evt_2"), message("evt_3")])
    for due in await deliveries.due([], 9):
        if due.announcement.id != "evt_3":
            await deliveries.settle(leadership, due, Settled("delivered", status=200))
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(
        "UPDATE webhook_deliveries SET created_at = created_at - make_interval(secs => $1) "
        "WHERE event_id <> 'evt_1'",
        KEPT + 1,
    )
    await owner.close()
    assert await deliveries.prune() == 1
    kept, _ = await deliveries.page("we_1", after=None, limit=9)
    assert {delivery.event_id for delivery in kept} == {"evt_1", "evt_3"}
