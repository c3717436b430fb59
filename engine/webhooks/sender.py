"""Sends what is due to webhook endpoints: at least once, and so that a slow receiver delays no other.

    due ──▶ POST ──2xx──▶ delivered
              ├─────410──▶ endpoint disabled, failed
              └─else, or no answer──▶ due again as the schedule and the receiver say; after the last attempt
                  failed, and the endpoint disabled where it has taken nothing for days

One leader sends. A message stays due until it is settled, so one whose sender dies is sent again. At most
`EACH` are under way to an endpoint, and only one while its last was not answered: the many slots cannot be
filled by a few that hang.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import random
from typing import Final

import structlog

from engine.origin import origin
from engine.webhooks.schedule import no_sooner, wait_before_next
from events.catalog import new_event
from events.errors import DatabaseUnavailable, LogBusy, NotFound, UnknownEvent
from events.journal import Decision, Journal
from events.log import Leadership
from events.read_models import Seen
from events.webhooks.deliveries import PRUNED, DueDelivery, Settled, WebhookDeliveries
from events.webhooks.endpoint import DisableWebhookEndpoint, WebhookEndpoint, decide
from events.webhooks.post import NotAnswered, WebhookPost
from events.webhooks.secret import SecretUnavailable, WebhookKey, signed_headers, signing_secrets

_logger = structlog.get_logger()
Schedule = Callable[[int, float], float | None]
SLOTS: Final = 256
"""Most messages under way at once."""
EACH: Final = 4
"""Most messages under way at once to one endpoint."""
POLL: Final = 1.0
"""Seconds between two looks when nobody wakes it."""
REST: Final = 0.02
"""Seconds between two looks at least: what ends meanwhile makes room together."""
PRUNE_EVERY: Final = 600.0
UNSIGNED_WAIT: Final = 60.0
"""Seconds until a message that could not be signed, or its endpoint not be read, is looked at again."""
GONE: Final = 410
FAILING: Final = 3 * 86_400
"""Seconds after which an endpoint that has taken nothing is not tried any more."""
_ORIGIN: Final = origin("webhooks")


class WebhookSender:
    """`run` while leading. Without a `key` nothing is sent, and each message says so."""

    def __init__(
        self,
        journal: Journal,
        deliveries: WebhookDeliveries,
        post: WebhookPost,
        key: WebhookKey | None,
        *,
        schedule: Schedule = wait_before_next,
        chance: Callable[[], float] = random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._deliveries = deliveries
        self._post = post
        self._key = key
        self._schedule = schedule
        self._chance = chance
        self._clock = clock
        self._woken = asyncio.Event()
        self._under_way: dict[str, str] = {}
        self._ailing: set[str] = set()

    def wake(self) -> None:
        """There may be something to send."""
        self._woken.set()

    async def run(self, leadership: Leadership) -> None:
        """Sends until cancelled. Raises `LeadershipLost`, and what the database says."""
        self._under_way.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._prune())
            while True:
                self._woken.clear()
                for due in await self._due():
                    self._under_way[due.id] = due.endpoint_id
                    group.create_task(self._deliver(leadership, due))
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL):
                        await self._woken.wait()
                await asyncio.sleep(REST)

    async def _due(self) -> list[DueDelivery]:
        """What is to be sent now, within the bounds."""
        if len(self._under_way) >= SLOTS:
            return []
        busy = Counter(self._under_way.values())
        taken = []
        for due in await self._deliveries.due(list(self._under_way), EACH):
            most = 1 if due.endpoint_id in self._ailing else EACH
            if busy[due.endpoint_id] < most and busy.total() < SLOTS:
                busy[due.endpoint_id] += 1
                taken.append(due)
        return taken

    async def _deliver(self, leadership: Leadership, due: DueDelivery) -> None:
        try:
            settled = await self._sent(leadership, due)
            await self._deliveries.settle(leadership, due, settled)
        except (LogBusy, DatabaseUnavailable) as error:
            _logger.warning("webhook message not settled", endpoint=due.endpoint_id, reason=str(error))
            await asyncio.sleep(POLL)
        # The next look must not find it due any more: only now is it under way no longer.
        del self._under_way[due.id]
        self._woken.set()

    async def _sent(self, leadership: Leadership, due: DueDelivery) -> Settled:
        """Sends a message, and says what is to become of it."""
        try:
            seen = await self._journal.models.find(WebhookEndpoint, due.endpoint_id)
            if seen is not None and seen.parked is not None:
                raise UnknownEvent(seen.parked)  # what is known of it may be out of date: its secret, its URL
            if seen is None or seen.state.deleted_at is not None:
                return Settled("failed", error="the endpoint was deleted", tried=False)
            if seen.state.disabled_at is not None:
                return Settled(
                    "failed", error=f"the endpoint is disabled: {seen.state.disabled_because}", tried=False
                )
            told = due.announcement
            if not (due.attempts or seen.state.asks_for(told.type, told.happened_at)):
                return Settled("failed", error="the endpoint does not ask for these events", tried=False)
            second = int(self._clock())
            body = told.body()
            secrets = signing_secrets(self._key, seen.id, seen.state.signing(second))
            headers = signed_headers(due.id, second, body, secrets)
        except (SecretUnavailable, UnknownEvent) as error:
            _logger.warning("webhook message waits", endpoint=due.endpoint_id, reason=str(error))
            return Settled("pending", UNSIGNED_WAIT, error=str(error), tried=False)
        status, asked = None, None
        try:
            answer = await self._post.send(seen.state.url, headers, body)
        except NotAnswered as error:
            self._ailing.add(due.endpoint_id)
            said = str(error)
        else:
            self._ailing.discard(due.endpoint_id)
            status, asked = answer.status, answer.retry_after
            said = f"the receiver answered {status}"
            if 200 <= status < 300:
                return Settled("delivered", status=status)
        if status == GONE:
            await self._disable(leadership, due.endpoint_id, said)
            return Settled(
                "failed", status=status, error="the receiver wants no more: the endpoint is disabled"
            )
        wait = self._schedule(due.in_a_row + 1, self._chance())
        if wait is not None:
            return Settled("pending", no_sooner(wait, asked), status, said)
        if await self._took_nothing(seen, due, second):
            days = FAILING // 86_400
            await self._disable(leadership, due.endpoint_id, f"it took no message for {days} days: {said}")
        return Settled("failed", status=status, error=said)

    async def _took_nothing(self, seen: Seen[WebhookEndpoint], due: DueDelivery, second: int) -> bool:
        """Whether an endpoint has taken nothing in all the days that a message was tried, and was the same
        all the while."""
        began = due.announcement.happened_at
        if second - began < FAILING or seen.state.updated_at > began:
            return False
        return not await self._deliveries.any_taken(seen.id, began)

    async def _disable(self, leadership: Leadership, endpoint_id: str, because: str) -> None:
        def disabling(seen: Seen[WebhookEndpoint]) -> Decision:
            events = decide(seen.state, DisableWebhookEndpoint(because))
            return Decision([new_event(seen.id, seen.project_id, e, metadata=_ORIGIN) for e in events])

        try:
            await self._journal.carry_out(WebhookEndpoint, endpoint_id, disabling, leadership=leadership)
        except (NotFound, UnknownEvent) as error:  # deleted meanwhile, or changed by a newer program
            _logger.warning("webhook endpoint not disabled", endpoint=endpoint_id, reason=str(error))
        else:
            _logger.warning("webhook endpoint disabled", endpoint=endpoint_id, reason=because)

    async def _prune(self) -> None:
        while True:
            while await self._deliveries.prune() == PRUNED:
                pass
            await asyncio.sleep(PRUNE_EVERY)
