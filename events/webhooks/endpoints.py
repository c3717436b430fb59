"""What may be done with webhook endpoints, by whoever may: each is a decision on the endpoint's stream."""

from typing import Final
from uuid import uuid4

from events.catalog import new_event
from events.errors import Refused
from events.journal import Decision, Journal
from events.log import Row
from events.read_models import Seen
from events.webhooks.endpoint import (
    CreateWebhookEndpoint,
    DeleteWebhookEndpoint,
    EnableWebhookEndpoint,
    RotateWebhookSecret,
    UpdateWebhookEndpoint,
    WebhookEndpoint,
    WebhookEndpointCommand,
    WebhookEndpointCreated,
    decide,
    fresh_endpoint_id,
)
from events.webhooks.secret import WebhookKey, require_key

MOST_ENDPOINTS: Final = 50


class TooManyEndpoints(Refused):
    """A project has as many endpoints as it may."""

    def __init__(self) -> None:
        super().__init__(f"A project has at most {MOST_ENDPOINTS} webhook endpoints: delete one first.")


class WebhookEndpoints:
    """The endpoints of all projects. `key` None: none can be made, and no secret.

    `metadata` says in the log who did it. All raise as `Journal.carry_out`.
    """

    def __init__(self, journal: Journal, key: WebhookKey | None) -> None:
        self._journal = journal
        self._key = key

    async def create(
        self, project_id: str, name: str, url: str, event_types: tuple[str, ...], metadata: str
    ) -> tuple[Seen[WebhookEndpoint], str]:
        """A new endpoint, and its signing secret. Raises `TooManyEndpoints` and `SecretUnavailable`.

        Endpoints are counted before one is added: whoever may be asked for several at once lets them take
        turns.
        """
        models = self._journal.models
        there_are = await models.page(WebhookEndpoint, project_id, limit=MOST_ENDPOINTS)
        # Those that only a newer program can read are not among the objects.
        if there_are.has_more or len(there_are.objects) >= MOST_ENDPOINTS:
            raise TooManyEndpoints
        id = fresh_endpoint_id()
        secret, trace = require_key(self._key).fresh(id)
        created = WebhookEndpointCreated(name, url, event_types, trace)
        events = [
            new_event(id, project_id, event, metadata=metadata)
            for event in decide(None, CreateWebhookEndpoint(created))
        ]
        row = Row("webhook_endpoint", id, project_id)
        await self._journal.record(Decision(events, rows=[row], expect={id: 0}))
        return await models.get(WebhookEndpoint, id, project_id), secret

    async def rotate(
        self, project_id: str | None, id: str, *, keep_old: bool, metadata: str
    ) -> tuple[Seen[WebhookEndpoint], str]:
        """The endpoint and its new signing secret; `keep_old` has the old one sign, too, for a day."""
        secret, trace = require_key(self._key).fresh(id)
        return await self._carry_out(project_id, id, RotateWebhookSecret(trace, keep_old), metadata), secret

    async def change(
        self,
        project_id: str | None,
        id: str,
        command: UpdateWebhookEndpoint | EnableWebhookEndpoint | DeleteWebhookEndpoint,
        metadata: str,
    ) -> Seen[WebhookEndpoint]:
        """The endpoint as it is after a command."""
        return await self._carry_out(project_id, id, command, metadata)

    async def _carry_out(
        self, project_id: str | None, id: str, command: WebhookEndpointCommand, metadata: str
    ) -> Seen[WebhookEndpoint]:
        event_id = uuid4()

        def decided(seen: Seen[WebhookEndpoint]) -> Decision:
            events = [
                new_event(id, seen.project_id, event, event_id=event_id, metadata=metadata)
                for event in decide(seen.state, command)
            ]
            gone = isinstance(command, DeleteWebhookEndpoint)
            row = Row("webhook_endpoint", id, seen.project_id, hidden=True)
            return Decision(events, rows=[row] if gone else [])

        return await self._journal.carry_out(WebhookEndpoint, id, decided, project_id=project_id)
