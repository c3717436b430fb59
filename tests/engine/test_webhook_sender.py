"""Ends of batches are told to whoever wants to hear of them: at least once, and to each in its own time."""

import asyncio
import json
import statistics
from collections.abc import Awaitable, Callable, Mapping
from uuid import uuid4

import pytest
from openai import OpenAI
from openai.types.webhooks import BatchCompletedWebhookEvent

from engine.webhooks import announcer as webhook_announcer
from engine.webhooks.sender import EACH, WebhookSender
from events.errors import DatabaseUnavailable, LeadershipLost
from events.event import NewEvent
from events.log import Leadership
from events.webhooks.deliveries import DueDelivery, Settled
from events.webhooks.endpoint import (
    DeleteWebhookEndpoint,
    DisableWebhookEndpoint,
    RotateWebhookSecret,
    UpdateWebhookEndpoint,
)
from events.webhooks.post import NotAnswered, PostAnswer, WebhookPost
from events.webhooks.secret import WebhookKey
from tests.engine.mailroom import KEY, Mailroom, Saying, mailroom
from tests.events.stage import PROJECT
from tests.receiver import PATIENCE, Heard, answer, receiver, silent

OTHER_SHAPE = """
    UPDATE read_models SET state = '{"name":7}', version = 99 WHERE id = $1
"""


__all__ = ["mailroom"]


async def test_the_end_of_a_batch_is_told_signed_and_once(mailroom: Mailroom) -> None:
    async with receiver() as hearing:
        endpoint = await mailroom.endpoint(hearing.url("/hook"))
        batch_id = await mailroom.ended_batch()
        await mailroom.announce()
        async with mailroom.sending():
            delivery = await mailroom.settled(endpoint, lambda d: d.state == "delivered")
    [heard] = hearing.heard
    client = OpenAI(api_key="sk-none")
    event = client.webhooks.unwrap(heard.body, heard.headers, secret=mailroom.secrets[endpoint])
    assert isinstance(event, BatchCompletedWebhookEvent)
    assert event.data.id == batch_id
    assert heard.headers["webhook-id"] == delivery.id
    assert (delivery.status, delivery.attempts, delivery.batch_id) == (204, 1, batch_id)


async def test_only_who_asked_is_told(mailroom: Mailroom) -> None:
    async with receiver() as hearing:
        early = await mailroom.ended_batch()
        await asyncio.sleep(1.1)  # times are whole seconds
        wanting = await mailroom.endpoint(hearing.url("/wanting"), "batch.completed", "batch.failed")
        silent_ones = [
            await mailroom.endpoint(hearing.url("/other-type"), "batch.expired"),
            await mailroom.endpoint(hearing.url("/other-project"), project="other"),
            deleted := await mailroom.endpoint(hearing.url("/deleted")),
            disabled := await mailroom.endpoint(hearing.url("/disabled")),
        ]
        await mailroom.command(deleted, DeleteWebhookEndpoint())
        await mailroom.command(disabled, DisableWebhookEndpoint("for a test"))
        late = await mailroom.ended_batch()
        await mailroom.announce()
        assert (await mailroom.delivery(wanting)).batch_id == late != early
        for endpoint in silent_ones:
            assert await mailroom.deliveries.page(endpoint, after=None, limit=1) == ([], False)


async def test_what_is_announced_twice_is_sent_once(mailroom: Mailroom) -> None:
    async with receiver() as hearing:
        endpoint = await mailroom.endpoint(hearing.url())
        await mailroom.ended_batch()
        events = await mailroom.stage.log.read(after=0)
        for _ in range(2):  # a leader that died before its checkpoint moved, and the next one
            await mailroom.announcer.handle(events)
        async with mailroom.sending():
            await mailroom.settled(endpoint, lambda d: d.state == "delivered")
        await mailroom.announcer.handle(events)
        assert await mailroom.deliveries.due([], 9) == []
    assert len(hearing.heard) == 1


async def test_both_secrets_sign_while_they_overlap(mailroom: Mailroom) -> None:
    client = OpenAI(api_key="sk-none")
    async with receiver() as hearing:
        endpoint = await mailroom.endpoint(hearing.url())
        secret, trace = KEY.fresh(endpoint)
        await mailroom.command(endpoint, RotateWebhookSecret(trace, keep_old=True))
        await mailroom.ended_batch()
        await mailroom.announce()
        async with mailroom.sending():
            [heard] = await hearing.until(1)
    for known in (secret, mailroom.secrets[endpoint]):
        client.webhooks.verify_signature(heard.body, heard.headers, secret=known)
    assert len(heard.headers["webhook-signature"].split()) == 2


@pytest.mark.parametrize("key", [None, WebhookKey("another")])
async def test_without_the_right_key_messages_wait_and_say_so(
    mailroom: Mailroom, key: WebhookKey | None
) -> None:
    async with receiver() as hearing:
        endpoint = await mailroom.endpoint(hearing.url())
        await mailroom.ended_batch()
        await mailroom.announce()
        async with mailroom.sending(key=key):
            delivery = await mailroom.settled(endpoint, lambda d: d.error is not None)
        assert (delivery.state, delivery.attempts, hearing.heard) == ("pending", 0, [])
        assert "BATCHMILL_WEBHOOK_KEY" in (delivery.error or "")


async def test_a_private_address_is_not_called_and_the_delivery_says_so(mailroom: Mailroom) -> None:
    async with receiver() as inside:
        endpoint = await mailroom.endpoint(inside.url(host="localhost"))
        await mailroom.ended_batch()
        await mailroom.announce()
        async with mailroom.sending(networks=()):
            delivery = await mailroom.settled(endpoint, lambda d: d.state == "failed")
    assert "an address that is not public" in (delivery.error or "")
    assert inside.heard == []


async def test_what_was_under_way_when_its_sender_died_is_sent_again(mailroom: Mailroom) -> None:
    async with receiver(silent) as hearing:
        endpoint = await mailroom.endpoint(hearing.url())
        await mailroom.ended_batch()
        await mailroom.announce()
        async with mailroom.sending():
            await hearing.until(1)
        assert (await mailroom.delivery(endpoint)).attempts == 0
        hearing.answering = lambda _: answer(200)
        async with mailroom.sending():
            await mailroom.settled(endpoint, lambda d: d.state == "delivered")
    assert len({heard.headers["webhook-id"] for heard in hearing.heard}) == 1
    assert len(hearing.heard) == 2


async def test_who_was_replaced_records_nothing(mailroom: Mailroom) -> None:
    class Replacing:
        async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> PostAnswer:
            await mailroom.stage.lead("lead")
            return PostAnswer(200)

    endpoint = await mailroom.endpoint("https://hooks.example.com/")
    await mailroom.ended_batch()
    await mailroom.announce()
    post: WebhookPost = Replacing()
    sender = WebhookSender(mailroom.journal, mailroom.deliveries, post, KEY)
    with pytest.raises(BaseExceptionGroup) as ended:
        await sender.run(await mailroom.stage.lead("lead"))
    assert ended.group_contains(LeadershipLost)
    assert (await mailroom.delivery(endpoint)).state == "pending"


class Once:
    """A post whose receiver takes every message, after something has happened in the middle of the first."""

    def __init__(self, happening: Callable[[], Awaitable[object]]) -> None:
        self._happening = happening
        self.sent = 0

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> PostAnswer:
        self.sent += 1
        if self.sent == 1:
            await self._happening()
            return PostAnswer(500)
        return PostAnswer(200)


async def test_a_message_asked_for_again_in_the_middle_of_its_last_attempt_is_sent_again(
    mailroom: Mailroom,
) -> None:
    endpoint = await mailroom.endpoint("https://hooks.example.com/")
    await mailroom.ended_batch()
    await mailroom.announce()
    id = (await mailroom.delivery(endpoint)).id
    async with mailroom.stage.database.writing() as connection:
        await connection.execute("UPDATE webhook_deliveries SET attempts = 4, in_a_row = 4")
    post = Once(lambda: mailroom.deliveries.redeliver(endpoint, id))
    async with mailroom.sending(by=post):
        delivery = await mailroom.settled(endpoint, lambda d: d.state != "pending")
    assert (delivery.state, post.sent) == ("delivered", 2)


async def test_a_message_whose_end_the_database_does_not_take_is_sent_again(
    mailroom: Mailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await mailroom.endpoint("https://hooks.example.com/")
    await mailroom.ended_batch()
    await mailroom.announce()
    settle, refused = mailroom.deliveries.settle, asyncio.Event()

    async def away_at_first(leadership: Leadership, due: DueDelivery, settled: Settled) -> None:
        if not refused.is_set():
            refused.set()
            raise DatabaseUnavailable("the database went away")
        await settle(leadership, due, settled)

    monkeypatch.setattr(mailroom.deliveries, "settle", away_at_first)
    post = Once(lambda: asyncio.sleep(0))
    async with mailroom.sending(by=post):
        delivery = await mailroom.settled(endpoint, lambda d: d.state == "delivered")
    assert (delivery.attempts, post.sent) == (1, 2)


async def test_a_project_with_more_endpoints_than_a_page_has_each_told(
    mailroom: Mailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_announcer, "MOST_ENDPOINTS", 2)
    endpoints = [await mailroom.endpoint(f"https://hooks.example.com/{n}") for n in range(5)]
    batch_id = await mailroom.ended_batch()
    await mailroom.announce()
    assert {(await mailroom.delivery(endpoint)).batch_id for endpoint in endpoints} == {batch_id}


@pytest.mark.parametrize("how", ["an event it does not know", "a row of another shape"])
@pytest.mark.parametrize("types", [(), ("batch.failed",)])
async def test_messages_wait_for_a_program_that_can_read_their_endpoint(
    mailroom: Mailroom, how: str, types: tuple[str, ...]
) -> None:
    """Whether it asks for them is for that one to say, too."""
    endpoint = await mailroom.endpoint("https://hooks.example.com/", *types)
    if how == "an event it does not know":
        await mailroom.stage.log.append(
            [NewEvent(uuid4(), endpoint, PROJECT, "WebhookEndpointMoved", '{"to":"elsewhere"}')]
        )
    else:
        async with mailroom.stage.database.writing() as connection:
            await connection.execute(OTHER_SHAPE, endpoint)
    await mailroom.ended_batch()
    await mailroom.announce()
    post = Saying(200)
    async with mailroom.sending(by=post):
        delivery = await mailroom.settled(endpoint, lambda d: d.error is not None)
    assert (delivery.state, delivery.attempts, post.sent) == ("pending", 0, 0)


async def test_a_message_that_is_not_asked_for_is_not_sent(mailroom: Mailroom) -> None:
    """It was made while nobody could tell, or before the endpoint was changed."""
    endpoint = await mailroom.endpoint("https://hooks.example.com/")
    await mailroom.ended_batch()
    await mailroom.announce()
    await mailroom.command(endpoint, UpdateWebhookEndpoint(event_types=("batch.failed",)))
    post = Saying(200)
    async with mailroom.sending(by=post):
        delivery = await mailroom.settled(endpoint, lambda d: d.state == "failed")
    assert (delivery.error, post.sent) == ("the endpoint does not ask for these events", 0)


class Crowd:
    """A post whose receiver answers when `go` is set, if at all. `seen` is how many messages were under way
    as each came."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers
        self.go = asyncio.Event()
        self.came = asyncio.Event()
        self.now = 0
        self.seen: list[int] = []

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> PostAnswer:
        self.now += 1
        self.seen.append(self.now)
        self.came.set()
        try:
            await self.go.wait()
            if not self._answers:
                raise NotAnswered("no answer")
        finally:
            self.now -= 1
        return PostAnswer(200)

    async def until(self, count: int) -> None:
        """So many messages came."""
        async with asyncio.timeout(PATIENCE):
            while len(self.seen) < count:
                self.came.clear()
                await self.came.wait()


@pytest.mark.parametrize("answers", [True, False])
async def test_an_endpoint_gets_a_few_messages_at_once_and_one_while_it_does_not_answer(
    mailroom: Mailroom, *, answers: bool
) -> None:
    """So the slots that there are cannot be filled by some receivers that hang."""
    crowd = Crowd(answers=answers)
    await mailroom.endpoint("https://hooks.example.com/")
    for _ in range(3 * EACH):
        await mailroom.ended_batch()
    await mailroom.announce()
    async with mailroom.sending(by=crowd, schedule=lambda *_: 3600.0):
        await crowd.until(EACH)
        crowd.go.set()
        await crowd.until(3 * EACH)
    assert crowd.seen[:EACH] == list(range(1, EACH + 1))
    assert max(crowd.seen[EACH:]) <= (EACH if answers else 1)


async def test_one_that_hangs_delays_no_other(mailroom: Mailroom) -> None:
    """One receiver hangs, with a long queue that came first; fifty others get theirs meanwhile."""

    def answering(heard: Heard) -> bytes | None:
        return None if heard.path == "/hangs" else answer(200)

    async def delays(*, hanging: bool) -> list[float]:
        project = f"project-{uuid4().hex}"
        async with receiver(answering) as hearing:
            if hanging:
                await mailroom.endpoint(hearing.url("/hangs"), project=project)
                for _ in range(5 * EACH):
                    await mailroom.ended_batch(project)
                await mailroom.announce()
            paths = {f"/{n}" for n in range(50)}
            for path in paths:
                await mailroom.endpoint(hearing.url(path), project=project)
            async with mailroom.sending():
                if hanging:
                    await hearing.until(EACH)
                batch_id = await mailroom.ended_batch(project)
                began = asyncio.get_running_loop().time()
                await mailroom.announce()
                await hearing.until(50 + (EACH if hanging else 0))
            heard = [one for one in hearing.heard if one.path in paths]
            assert {one.path for one in heard} == paths
            assert all(json.loads(one.body)["data"]["id"] == batch_id for one in heard)
            return [one.at - began for one in heard]

    alone, beside = await delays(hanging=False), await delays(hanging=True)
    print(
        f"\n50 receivers, from the end of the batch: alone {statistics.median(alone) * 1e3:.0f} ms (median), "
        f"{max(alone) * 1e3:.0f} ms (last); beside one that hangs {statistics.median(beside) * 1e3:.0f} ms, "
        f"{max(beside) * 1e3:.0f} ms"
    )
