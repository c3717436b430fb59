"""A message that is not taken is tried again by the schedule, then given up, and its endpoint disabled."""

import asyncio
import time

import pytest

from events.webhooks.endpoint import (
    DeleteWebhookEndpoint,
    DisableWebhookEndpoint,
    UpdateWebhookEndpoint,
    WebhookEndpoint,
    WebhookEndpointCommand,
)
from tests.engine.mailroom import Mailroom, Saying, mailroom
from tests.receiver import answer, receiver

TAKEN_TOO = """
    INSERT INTO webhook_deliveries (id, endpoint_id, project_id, event_id, type, batch_id, happened_at, state,
                                    due_at, attempted_at, created_at)
    VALUES ('wh_too', $1, 'p', 'evt_too', 'batch.completed', 'batch_too', 0, 'delivered', NULL,
            now() + interval '1 day', now() + interval '2 days')
"""

__all__ = ["mailroom"]


async def test_a_receiver_that_fails_is_tried_until_it_takes_the_message(mailroom: Mailroom) -> None:
    answers = [answer(500), answer(302, "location: http://127.0.0.1:1/"), answer(429), answer(200)]
    async with receiver(lambda _: answers.pop(0)) as hearing:
        endpoint = await mailroom.endpoint(hearing.url())
        await mailroom.ended_batch()
        await mailroom.announce()
        async with mailroom.sending():
            delivery = await mailroom.settled(endpoint, lambda d: d.state == "delivered")
    assert delivery.attempts == len(hearing.heard) == 4
    assert len({heard.headers["webhook-id"] for heard in hearing.heard}) == 1
    assert len({heard.body for heard in hearing.heard}) == 1


async def test_a_receiver_that_never_takes_it_is_given_up_and_may_be_asked_again(mailroom: Mailroom) -> None:
    async with receiver(lambda _: answer(500)) as hearing:
        endpoint = await mailroom.endpoint(hearing.url())
        await mailroom.ended_batch()
        await mailroom.announce()
        async with mailroom.sending():
            failed = await mailroom.settled(endpoint, lambda d: d.state == "failed")
            assert (failed.attempts, failed.status, failed.error) == (5, 500, "the receiver answered 500")
            hearing.answering = lambda _: answer(200)
            await mailroom.deliveries.redeliver(endpoint, failed.id)
            again = await mailroom.settled(endpoint, lambda d: d.state == "delivered")
    assert (again.attempts, again.error) == (6, None)


async def test_an_attempt_that_failed_waits_as_the_schedule_says(mailroom: Mailroom) -> None:
    async with receiver(lambda _: answer(503)) as hearing:
        endpoint = await mailroom.endpoint(hearing.url())
        await mailroom.ended_batch()
        await mailroom.announce()
        async with mailroom.sending(schedule=lambda attempts, _: 3600.0 * attempts):
            delivery = await mailroom.settled(endpoint, lambda d: d.attempts > 0)
    assert delivery.due_at is not None
    assert delivery.attempted_at is not None
    assert delivery.due_at - delivery.attempted_at in (3599, 3600, 3601)
    assert len(hearing.heard) == 1


@pytest.mark.parametrize(("asked", "waits"), [("7200", 7200), ("1", 60), ("99999999", 86_400)])
async def test_a_receiver_may_ask_for_a_longer_wait_within_bounds(
    mailroom: Mailroom, asked: str, waits: int
) -> None:
    async with receiver(lambda _: answer(429, f"retry-after: {asked}")) as hearing:
        endpoint = await mailroom.endpoint(hearing.url())
        await mailroom.ended_batch()
        await mailroom.announce()
        async with mailroom.sending(schedule=lambda *_: 60.0):
            delivery = await mailroom.settled(endpoint, lambda d: d.attempts > 0)
    assert delivery.due_at is not None
    assert delivery.attempted_at is not None
    assert abs(delivery.due_at - delivery.attempted_at - waits) <= 1


async def given_up_after_days(mailroom: Mailroom, endpoint: str, days: float) -> WebhookEndpoint:
    """The endpoint when its receiver answers nothing but 500 until so many days after the batch."""
    later = days * 86_400
    async with mailroom.sending(by=Saying(500), schedule=lambda *_: None, clock=lambda: time.time() + later):
        await mailroom.settled(endpoint, lambda d: d.state == "failed")
    return (await mailroom.stage.models.get(WebhookEndpoint, endpoint)).state


async def test_an_endpoint_that_takes_nothing_for_days_is_disabled_and_says_why(mailroom: Mailroom) -> None:
    endpoint = await mailroom.endpoint("https://hooks.example.com/")
    await mailroom.ended_batch()
    await mailroom.announce()
    state = await given_up_after_days(mailroom, endpoint, 3.1)
    assert not state.open
    assert state.disabled_because == "it took no message for 3 days: the receiver answered 500"


@pytest.mark.parametrize("why", ["it took another", "it was changed since", "only two days have passed"])
async def test_an_endpoint_that_may_be_well_is_not_disabled(mailroom: Mailroom, why: str) -> None:
    endpoint = await mailroom.endpoint("https://hooks.example.com/")
    await mailroom.ended_batch()
    await mailroom.announce()
    async with mailroom.stage.database.writing() as connection:
        if why == "it took another":
            await connection.execute(TAKEN_TOO, endpoint)
        if why == "it was changed since":
            await asyncio.sleep(1.1)  # times are whole seconds
            await mailroom.command(endpoint, UpdateWebhookEndpoint(url="https://new.example.com/"))
    assert (await given_up_after_days(mailroom, endpoint, 2 if why.startswith("only") else 3.1)).open


async def test_410_disables_the_endpoint(mailroom: Mailroom) -> None:
    async with receiver(lambda _: answer(410)) as hearing:
        endpoint = await mailroom.endpoint(hearing.url())
        await mailroom.ended_batch()
        await mailroom.announce()
        async with mailroom.sending():
            delivery = await mailroom.settled(endpoint, lambda d: d.state == "failed")
        seen = await mailroom.stage.models.get(WebhookEndpoint, endpoint)
        assert (delivery.status, seen.state.disabled_because) == (410, "the receiver answered 410")
        await mailroom.ended_batch()
        await mailroom.announce()
        assert len((await mailroom.deliveries.page(endpoint, after=None, limit=9))[0]) == 1


@pytest.mark.parametrize("end", [DeleteWebhookEndpoint(), DisableWebhookEndpoint("for a test")])
async def test_what_waits_for_an_endpoint_that_is_no_more_is_not_sent(
    mailroom: Mailroom, end: WebhookEndpointCommand
) -> None:
    async with receiver() as hearing:
        endpoint = await mailroom.endpoint(hearing.url())
        await mailroom.ended_batch()
        await mailroom.announce()
        await mailroom.command(endpoint, end)
        async with mailroom.sending():
            delivery = await mailroom.settled(endpoint, lambda d: d.state == "failed")
    assert (hearing.heard, delivery.attempts) == ([], 0)
    assert delivery.error is not None
