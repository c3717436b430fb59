"""What the API has for webhooks."""

import msgspec

from events.webhooks.deliveries import WebhookDeliveries
from events.webhooks.post import WebhookPost
from events.webhooks.public_address import AddressRule
from events.webhooks.secret import WebhookKey


class WebhookServices(msgspec.Struct, frozen=True):
    """`rule` says which URLs may be called; without a `key` nothing can be signed."""

    deliveries: WebhookDeliveries
    post: WebhookPost
    rule: AddressRule
    key: WebhookKey | None
