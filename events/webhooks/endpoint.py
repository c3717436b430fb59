"""One webhook endpoint as a stream of events: where a project wants to be told of its batches.

WebhookEndpointCreated
     │
  enabled ──WebhookEndpointUpdated, WebhookSecretRotated──▶ enabled
     │  ▲
     │  └──WebhookEndpointEnabled────┐
     ├─────WebhookEndpointDisabled──▶ disabled
     │                                  │
WebhookEndpointDeleted ◀────────────────┘
"""

import secrets
from collections.abc import Sequence
from typing import Final, assert_never

import msgspec

from events.webhooks.secret import SecretTrace

OVERLAP: Final = 24 * 3600
"""Seconds that an old secret goes on signing where a rotation keeps it."""
MOST_OLD_SECRETS: Final = 4
"""Old secrets that sign beside the current one: each adds to every message's header."""


class WebhookEndpointCreated(msgspec.Struct, frozen=True):
    """A project wants to be told of `event_types` at `url`."""

    name: str
    url: str
    event_types: tuple[str, ...]
    secret: SecretTrace


class WebhookEndpointUpdated(msgspec.Struct, frozen=True):
    """What is not None is so from now on."""

    name: str | None = None
    url: str | None = None
    event_types: tuple[str, ...] | None = None


class WebhookSecretRotated(msgspec.Struct, frozen=True):
    """A new secret signs; those before it sign beside it for `overlap` seconds at most."""

    secret: SecretTrace
    overlap: int = 0


class WebhookEndpointDisabled(msgspec.Struct, frozen=True):
    """Nothing is sent any more, for a reason: the receiver answered 410, or took nothing for days."""

    reason: str


class WebhookEndpointEnabled(msgspec.Struct, frozen=True):
    """What happens from now on is sent again."""


class WebhookEndpointDeleted(msgspec.Struct, frozen=True):
    """The endpoint is gone."""


WebhookEndpointEvent = (
    WebhookEndpointCreated
    | WebhookEndpointUpdated
    | WebhookSecretRotated
    | WebhookEndpointDisabled
    | WebhookEndpointEnabled
    | WebhookEndpointDeleted
)


class OldSecret(msgspec.Struct, frozen=True):
    """A secret that was rotated away and signs until then (Unix second)."""

    trace: SecretTrace
    until: int


class WebhookEndpoint(msgspec.Struct, frozen=True):
    """An endpoint as its events made it; times are Unix seconds."""

    name: str
    url: str
    event_types: tuple[str, ...]
    secret: SecretTrace
    created_at: int
    updated_at: int
    old_secrets: tuple[OldSecret, ...] = ()
    disabled_at: int | None = None
    disabled_because: str | None = None
    deleted_at: int | None = None

    @property
    def open(self) -> bool:
        """Whether anything is sent to it."""
        return self.disabled_at is None and self.deleted_at is None

    def asks_for(self, type_: str, happened_at: int) -> bool:
        """Whether it wants to hear of an event of a type: of none that happened (Unix second) before it was
        made."""
        return type_ in self.event_types and self.created_at <= happened_at

    def signing(self, second: int) -> list[SecretTrace]:
        """The secrets that sign at a time, the current one first."""
        return [self.secret, *(old.trace for old in self.old_secrets if second < old.until)]


class CreateWebhookEndpoint(msgspec.Struct, frozen=True):
    """Be told of batches."""

    created: WebhookEndpointCreated


class UpdateWebhookEndpoint(msgspec.Struct, frozen=True):
    """Change what is not None."""

    name: str | None = None
    url: str | None = None
    event_types: tuple[str, ...] | None = None


class RotateWebhookSecret(msgspec.Struct, frozen=True):
    """Sign with another secret."""

    secret: SecretTrace
    keep_old: bool = False


class DisableWebhookEndpoint(msgspec.Struct, frozen=True):
    """Send nothing more."""

    reason: str


class EnableWebhookEndpoint(msgspec.Struct, frozen=True):
    """Send again."""


class DeleteWebhookEndpoint(msgspec.Struct, frozen=True):
    """Be told no more."""


WebhookEndpointCommand = (
    CreateWebhookEndpoint
    | UpdateWebhookEndpoint
    | RotateWebhookSecret
    | DisableWebhookEndpoint
    | EnableWebhookEndpoint
    | DeleteWebhookEndpoint
)


def fresh_endpoint_id() -> str:
    """`we_` and 32 hex digits."""
    return "we_" + secrets.token_hex(16)


def decide(
    endpoint: WebhookEndpoint | None, command: WebhookEndpointCommand
) -> Sequence[WebhookEndpointEvent]:
    """The events that a command makes of an endpoint; none where it changes nothing."""
    if endpoint is None:
        return [command.created] if isinstance(command, CreateWebhookEndpoint) else []
    if endpoint.deleted_at is not None:
        return []
    match command:
        case CreateWebhookEndpoint():
            return []
        case UpdateWebhookEndpoint():
            updated = _difference(endpoint, command)
            return [] if updated == WebhookEndpointUpdated() else [updated]
        case RotateWebhookSecret(secret=secret, keep_old=keep_old):
            return [WebhookSecretRotated(secret, OVERLAP if keep_old else 0)]
        case DisableWebhookEndpoint(reason=reason):
            return [WebhookEndpointDisabled(reason)] if endpoint.disabled_at is None else []
        case EnableWebhookEndpoint():
            return [WebhookEndpointEnabled()] if endpoint.disabled_at is not None else []
        case DeleteWebhookEndpoint():
            return [WebhookEndpointDeleted()]
        case _:
            assert_never(command)


def evolve(endpoint: WebhookEndpoint | None, event: WebhookEndpointEvent, second: int) -> WebhookEndpoint:
    """The endpoint after an event that was recorded at `second` (Unix time)."""
    if isinstance(event, WebhookEndpointCreated):
        return WebhookEndpoint(event.name, event.url, event.event_types, event.secret, second, second)
    if endpoint is None:
        raise ValueError(f"an endpoint begins with WebhookEndpointCreated, not with {type(event).__name__}")
    replace = msgspec.structs.replace
    match event:
        case WebhookEndpointUpdated():
            return replace(
                endpoint,
                name=endpoint.name if event.name is None else event.name,
                url=endpoint.url if event.url is None else event.url,
                event_types=endpoint.event_types if event.event_types is None else event.event_types,
                updated_at=second,
            )
        case WebhookSecretRotated():
            return replace(
                endpoint, secret=event.secret, old_secrets=_kept(endpoint, event, second), updated_at=second
            )
        case WebhookEndpointDisabled():
            return replace(endpoint, disabled_at=second, disabled_because=event.reason)
        case WebhookEndpointEnabled():
            return replace(endpoint, disabled_at=None, disabled_because=None, updated_at=second)
        case WebhookEndpointDeleted():
            return replace(endpoint, deleted_at=second)
        case _:
            assert_never(event)


def _difference(endpoint: WebhookEndpoint, wanted: UpdateWebhookEndpoint) -> WebhookEndpointUpdated:
    return WebhookEndpointUpdated(
        name=None if wanted.name == endpoint.name else wanted.name,
        url=None if wanted.url == endpoint.url else wanted.url,
        event_types=None if wanted.event_types == endpoint.event_types else wanted.event_types,
    )


def _kept(endpoint: WebhookEndpoint, event: WebhookSecretRotated, second: int) -> tuple[OldSecret, ...]:
    """The newest secrets that sign on beside the new one; none outlives what it was once given."""
    until = second + event.overlap
    old = [OldSecret(endpoint.secret, until), *endpoint.old_secrets]
    kept = [OldSecret(one.trace, min(one.until, until)) for one in old]
    return tuple(one for one in kept if one.until > second)[:MOST_OLD_SECRETS]
