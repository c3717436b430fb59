"""The follower that makes of each end of a batch a message to every endpoint that wants to hear of it."""

from collections.abc import AsyncIterator, Callable, Sequence

from events.event import RecordedEvent
from events.read_models import ModelWrite, ReadModels, Seen
from events.webhooks.deliveries import NewDelivery, WebhookDeliveries
from events.webhooks.endpoint import WebhookEndpoint
from events.webhooks.endpoints import MOST_ENDPOINTS
from events.webhooks.event import announcement_of, delivery_id


class WebhookAnnouncer:
    """`handle` is what its follower calls. `made` is called when there is something to send."""

    def __init__(
        self, models: ReadModels, deliveries: WebhookDeliveries, made: Callable[[], None] = lambda: None
    ) -> None:
        self._models = models
        self._deliveries = deliveries
        self._made = made

    async def handle(self, events: Sequence[RecordedEvent]) -> Sequence[ModelWrite]:
        """Adds the messages of these events; writes no read models.

        The id of a message follows from its event and endpoint, so that what is handled again adds nothing:
        that it is added before the checkpoint moves, and not with it, makes no difference. An endpoint hears
        of nothing that happened before it was made.
        """
        made = [delivery for event in events for delivery in await self._messages(event)]
        await self._deliveries.add(made)
        if made:
            self._made()
        return ()

    async def _messages(self, event: RecordedEvent) -> list[NewDelivery]:
        announcement = announcement_of(event)
        if announcement is None:
            return []
        return [
            NewDelivery(delivery_id(announcement.id, seen.id), seen.id, event.project_id, announcement)
            async for seen in self._endpoints(event.project_id)
            if seen.state.open
            and announcement.type in seen.state.event_types
            and seen.state.created_at <= announcement.happened_at
        ]

    async def _endpoints(self, project_id: str) -> AsyncIterator[Seen[WebhookEndpoint]]:
        """Every endpoint of a project: a few more than it may have can be made at the same moment."""
        after: str | None = None
        while True:
            page = await self._models.page(WebhookEndpoint, project_id, after=after, limit=MOST_ENDPOINTS)
            for seen in page.objects:
                yield seen
            if not (page.has_more and page.objects):
                return
            after = page.objects[-1].id
