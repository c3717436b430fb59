"""`batchmill webhooks`: who is told of batches. These commands open the database; they need no server."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from cli.keys import DEFAULT_PROJECT
from cli.parameters import Config, Json, Limit
from cli.settings import Settings
from cli.settings_sources import load
from events.errors import SettingsError
from events.journal import Journal
from events.origin import OPERATOR
from events.read_models import Seen
from events.webhooks.deliveries import Delivery, WebhookDeliveries
from events.webhooks.endpoint import (
    DeleteWebhookEndpoint,
    EnableWebhookEndpoint,
    UpdateWebhookEndpoint,
    WebhookEndpoint,
)
from events.webhooks.endpoints import MOST_ENDPOINTS, WebhookEndpoints
from events.webhooks.event import WEBHOOK_TYPES, WebhookType
from events.webhooks.sample import send_sample
from events.webhooks.secret import WebhookKey
from events.webhooks.url import url_refusal

Project = Annotated[str, Parameter(help="The project whose batches are told of.")]

app = App(
    name="webhooks",
    help="""Have batches announced: make, change and see the webhook endpoints of projects.

    $ batchmill webhooks create https://example.com/batches --project research
    $ batchmill webhooks list
    """,
    help_format="plaintext",
)


class ListedEndpoint(msgspec.Struct, frozen=True):
    """An endpoint as `webhooks list --json` shows it; times are Unix seconds."""

    id: str
    project: str
    name: str
    url: str
    events: tuple[str, ...]
    secret: str
    created_at: int
    disabled_at: int | None
    disabled_because: str | None


@app.command
def create(
    url: str,
    *,
    project: Project = DEFAULT_PROJECT,
    name: Annotated[str, Parameter(help="What the endpoint is for, shown in lists.")] = "webhook",
    event: Annotated[
        list[str] | None,
        Parameter(negative=(), help="An event to tell of, again for each; all four when not given."),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Have batches of a project announced at a URL; print the signing secret, this once.

    $ batchmill webhooks create https://example.com/batches
    $ batchmill webhooks create https://example.com/failed --event batch.failed
    """
    types = _types(event) or WEBHOOK_TYPES

    async def make() -> tuple[Seen[WebhookEndpoint], str]:
        async with _room(config) as room:
            room.require(url)
            return await room.endpoints.create(project, name, url, types, OPERATOR)

    seen, secret = asyncio.run(make())
    _tell_secret(seen, secret, json=json)


@app.command(name="list")
def list_(*, project: Project = DEFAULT_PROJECT, config: Config = None, json: Json = False) -> None:
    """List the endpoints of a project, the newest first; the secrets themselves are not kept.

    $ batchmill webhooks list
    $ batchmill webhooks list --project research --json | jq '.[].url'
    """
    from cli.remote.client import json_text
    from cli.tables import local_time, print_table

    async def read() -> list[ListedEndpoint]:
        async with _room(config) as room:
            page = await room.journal.models.page(WebhookEndpoint, project, limit=2 * MOST_ENDPOINTS)
            return [_listed(seen) for seen in page.objects]

    listed = asyncio.run(read())
    if json:
        print(json_text(msgspec.json.encode(listed)))
        return
    print_table(
        ("id", "name", "url", "events", "created", "disabled"),
        [
            (
                one.id,
                one.name,
                one.url,
                " ".join(type_.removeprefix("batch.") for type_ in one.events),
                local_time(one.created_at),
                one.disabled_because or "",
            )
            for one in listed
        ],
    )


@app.command
def update(
    endpoint_id: str,
    *,
    url: Annotated[str | None, Parameter(help="Where it is told from now on.")] = None,
    name: Annotated[str | None, Parameter(help="What the endpoint is for, shown in lists.")] = None,
    event: Annotated[
        list[str] | None,
        Parameter(negative=(), help="An event to tell of, again for each, instead of those so far."),
    ] = None,
    config: Config = None,
) -> None:
    """Change what is given, and leave the rest.

    $ batchmill webhooks update we_0123456789abcdef --url https://example.com/new
    """
    command = UpdateWebhookEndpoint(name, url, _types(event) or None)

    async def change() -> None:
        async with _room(config) as room:
            if url is not None:
                room.require(url)
            await room.endpoints.change(None, endpoint_id, command, OPERATOR)

    asyncio.run(change())
    print(f"Endpoint {endpoint_id} is changed.", file=sys.stderr)


@app.command
def rotate(
    endpoint_id: str,
    *,
    keep_old: Annotated[bool, Parameter(negative=(), help="The old secret signs, too, for a day.")] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Sign with another secret from now on; print it, this once.

    $ batchmill webhooks rotate we_0123456789abcdef --keep-old
    """

    async def change() -> tuple[Seen[WebhookEndpoint], str]:
        async with _room(config) as room:
            return await room.endpoints.rotate(None, endpoint_id, keep_old=keep_old, metadata=OPERATOR)

    seen, secret = asyncio.run(change())
    _tell_secret(seen, secret, json=json)


@app.command
def enable(endpoint_id: str, *, config: Config = None) -> None:
    """Send again to an endpoint that was disabled, from now on.

    $ batchmill webhooks enable we_0123456789abcdef
    """

    async def change() -> None:
        async with _room(config) as room:
            await room.endpoints.change(None, endpoint_id, EnableWebhookEndpoint(), OPERATOR)

    asyncio.run(change())
    print(f"Endpoint {endpoint_id} is enabled.", file=sys.stderr)


@app.command
def delete(endpoint_id: str, *, config: Config = None) -> None:
    """Send nothing more to an endpoint, and forget it.

    $ batchmill webhooks delete we_0123456789abcdef
    """

    async def change() -> None:
        async with _room(config) as room:
            await room.endpoints.change(None, endpoint_id, DeleteWebhookEndpoint(), OPERATOR)

    asyncio.run(change())
    print(f"Endpoint {endpoint_id} is deleted.", file=sys.stderr)


@app.command(name="test")
def send_test(
    endpoint_id: str,
    *,
    event: Annotated[str, Parameter(help="The event to send a sample of.")] = WEBHOOK_TYPES[0],
    config: Config = None,
) -> None:
    """Send a sample from this machine, and say what was answered.

    $ batchmill webhooks test we_0123456789abcdef --event batch.failed
    """
    (type_,) = _types([event])

    async def send() -> int:
        from cli.webhook_parts import open_post

        async with _room(config) as room, open_post(room.settings) as post:
            seen = await room.endpoint(endpoint_id)
            return await send_sample(post, room.key, seen, type_)

    print(f"The receiver answered {asyncio.run(send())}.")


@app.command
def deliveries(endpoint_id: str, *, limit: Limit = 20, config: Config = None, json: Json = False) -> None:
    """List what was sent to an endpoint, or is to be, the newest first.

    $ batchmill webhooks deliveries we_0123456789abcdef
    $ batchmill webhooks deliveries we_0123456789abcdef --limit 100 --json
    """
    from cli.remote.client import json_text
    from cli.tables import local_time, print_table

    async def read() -> list[Delivery]:
        async with _room(config) as room:
            await room.endpoint(endpoint_id)
            return (await room.deliveries.page(endpoint_id, after=None, limit=limit))[0]

    found = asyncio.run(read())
    if json:
        print(json_text(msgspec.json.encode(found)))
        return
    print_table(
        ("id", "event", "batch", "state", "attempts", "next", "status", "why"),
        [
            (
                one.id,
                one.type,
                one.batch_id,
                one.state,
                str(one.attempts),
                local_time(one.due_at),
                str(one.status or ""),
                one.error or "",
            )
            for one in found
        ],
    )


@app.command
def redeliver(endpoint_id: str, delivery_id: str, *, config: Config = None) -> None:
    """Have a message sent again, whatever became of it; a running server does so.

    $ batchmill webhooks redeliver we_0123456789abcdef wh_0123456789abcdef
    """

    async def ask() -> None:
        async with _room(config) as room:
            await room.endpoint(endpoint_id)
            await room.deliveries.redeliver(endpoint_id, delivery_id)

    asyncio.run(ask())
    print(f"Delivery {delivery_id} is sent again.", file=sys.stderr)


class _Room(msgspec.Struct, frozen=True):
    """What these commands work with."""

    settings: Settings
    journal: Journal
    deliveries: WebhookDeliveries
    key: WebhookKey | None

    @property
    def endpoints(self) -> WebhookEndpoints:
        return WebhookEndpoints(self.journal, self.key)

    async def endpoint(self, id: str) -> Seen[WebhookEndpoint]:
        """An endpoint of any project."""
        return await self.journal.models.get(WebhookEndpoint, id)

    def require(self, url: str) -> None:
        """Raises `SettingsError` for a URL that no endpoint can have."""
        from cli.webhook_parts import address_rule

        refusal = url_refusal(url, address_rule(self.settings))
        if refusal is not None:
            raise SettingsError(f"the URL {refusal}")


@asynccontextmanager
async def _room(config: Config) -> AsyncIterator[_Room]:
    from cli.database import open_records
    from cli.embedded.data_folder import kept_webhook_key
    from cli.webhook_parts import webhook_key

    settings = load(environ=os.environ, config=config).settings
    async with open_records(settings) as (database, journal):
        kept = kept_webhook_key(settings.data_dir) if settings.database_url is None else None
        yield _Room(settings, journal, WebhookDeliveries(database), webhook_key(settings, kept))


def _types(events: list[str] | None) -> tuple[WebhookType, ...]:
    """The events that were given. Raises `SettingsError` for one that there is not."""
    for event in events or ():
        if event not in WEBHOOK_TYPES:
            raise SettingsError(f"there is no event {event!r}: it is one of {', '.join(WEBHOOK_TYPES)}")
    return tuple(type_ for type_ in WEBHOOK_TYPES if type_ in (events or ()))


def _tell_secret(seen: Seen[WebhookEndpoint], secret: str, *, json: bool) -> None:
    if json:
        made = {"id": seen.id, "project": seen.project_id, "url": seen.state.url, "signing_secret": secret}
        print(msgspec.json.encode(made).decode())
    else:
        print(secret)
        print(f"Signing secret of {seen.id} of project {seen.project_id}, shown this once.", file=sys.stderr)


def _listed(seen: Seen[WebhookEndpoint]) -> ListedEndpoint:
    endpoint = seen.state
    return ListedEndpoint(
        seen.id,
        seen.project_id,
        endpoint.name,
        endpoint.url,
        endpoint.event_types,
        endpoint.secret.hint,
        endpoint.created_at,
        endpoint.disabled_at,
        endpoint.disabled_because,
    )
