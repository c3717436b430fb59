"""The follower that makes of each end of a batch a message to every endpoint that wants to hear of it."""

from collections.abc import AsyncIterator, Callable, Sequence

from events.event import RecordedEvent
from events.read_models import ModelWrite, ReadModels
from events.webhooks.deliveries import NewDelivery, WebhookDeliveries
from events.webhooks.endpoint import WebhookEndpoint
from events.webhooks.endpoints import MOST_ENDPOINTS
from events.webhooks.event import Announcement, announcement_of, delivery_id


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
        of nothing that happened before it was made. One that a newer program changed may hear of all: its
        messages wait for a sender that can read it, and knows what it wants.
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
            NewDelivery(delivery_id(announcement.id, id), id, event.project_id, announcement)
            async for id in self._told(event.project_id, announcement)
        ]

    async def _told(self, project_id: str, announcement: Announcement) -> AsyncIterator[str]:
        """The endpoints of a project that are told. A few more than it may have can be made at the same
        moment: so they are read in pages."""
        after: str | None = None
        while True:
            page = await self._models.page(WebhookEndpoint, project_id, after=after, limit=MOST_ENDPOINTS)
            for seen in page.objects:
                wants = seen.state.asks_for(announcement.type, announcement.happened_at)
                if seen.parked is not None or (seen.state.open and wants):
                    yield seen.id
            for id in page.unread:
                yield id
            if not page.has_more:
                return
            after = page.last_id
