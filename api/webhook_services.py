"""What the API has for webhooks."""

import msgspec

from events.public_address import AddressRule
from events.webhook_deliveries import WebhookDeliveries
from events.webhook_post import WebhookPost
from events.webhook_secret import WebhookKey


class WebhookServices(msgspec.Struct, frozen=True):
    """`rule` says which URLs may be called; without a `key` nothing can be signed."""

    deliveries: WebhookDeliveries
    post: WebhookPost
    rule: AddressRule
    key: WebhookKey | None
