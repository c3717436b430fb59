"""What webhooks need of the settings: the key of their secrets, and the post that carries messages out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING

from cli.settings import Settings
from events.migrate import program_version
from events.webhooks.public_address import AddressRule
from events.webhooks.secret import WebhookKey

if TYPE_CHECKING:
    from engine.webhooks.poster import WebhookPoster


def address_rule(settings: Settings) -> AddressRule:
    """Which addresses may be called."""
    return AddressRule([ip_network(network) for network in settings.webhook_networks])


def webhook_key(settings: Settings, kept: str | None = None) -> WebhookKey | None:
    """The key that is set, or else the one `kept` beside an embedded database; None where there is none."""
    text = settings.webhook_key or kept
    return None if text is None else WebhookKey(text)


@asynccontextmanager
async def open_post(settings: Settings) -> AsyncIterator["WebhookPoster"]:
    """The post, for as long as the block runs."""
    from engine.webhooks.poster import WebhookPoster

    post = WebhookPoster(
        address_rule(settings), f"batchmill/{program_version()}", timeout=settings.webhook_timeout
    )
    try:
        yield post
    finally:
        await post.close()
