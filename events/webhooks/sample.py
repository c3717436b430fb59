"""A sample for a webhook endpoint, so that its receiver can be tried before a batch ends."""

import time
from typing import Final
from uuid import uuid4

from events.read_models import Seen
from events.webhooks.endpoint import WebhookEndpoint
from events.webhooks.event import Announcement, WebhookType
from events.webhooks.post import WebhookPost
from events.webhooks.secret import WebhookKey, signed_headers, signing_secrets

SAMPLE_BATCH: Final = "batch_" + "0" * 32
"""What a sample names; there is no such batch."""


async def send_sample(
    post: WebhookPost, key: WebhookKey | None, seen: Seen[WebhookEndpoint], type_: WebhookType
) -> int:
    """Sends a sample of an event, once, signed as any other, and returns the status of the answer. Raises
    `SecretUnavailable` and `NotAnswered`."""
    second = int(time.time())
    body = Announcement(f"evt_{uuid4().hex}", type_, SAMPLE_BATCH, second).body()
    secrets = signing_secrets(key, seen.id, seen.state.signing(second))
    headers = signed_headers(f"wh_{uuid4().hex}", second, body, secrets)
    return (await post.send(seen.state.url, headers, body)).status
