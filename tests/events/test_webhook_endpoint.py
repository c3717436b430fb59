"""What may happen to a webhook endpoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.webhooks.endpoint import (
    MOST_OLD_SECRETS,
    OVERLAP,
    CreateWebhookEndpoint,
    DeleteWebhookEndpoint,
    DisableWebhookEndpoint,
    EnableWebhookEndpoint,
    RotateWebhookSecret,
    UpdateWebhookEndpoint,
    WebhookEndpoint,
    WebhookEndpointCommand,
    WebhookEndpointCreated,
    WebhookEndpointDeleted,
    decide,
    evolve,
)
from events.webhooks.secret import SecretTrace


def trace(name: str) -> SecretTrace:
    return SecretTrace(name, f"whsec_…{name}", name * 2)


CREATED = WebhookEndpointCreated("mine", "https://a.example/", ("batch.completed",), trace("first"))
COMMANDS: list[WebhookEndpointCommand] = [
    CreateWebhookEndpoint(CREATED),
    UpdateWebhookEndpoint(name="other"),
    UpdateWebhookEndpoint(url="https://b.example/", event_types=("batch.failed", "batch.expired")),
    RotateWebhookSecret(trace("next"), keep_old=True),
    RotateWebhookSecret(trace("last")),
    DisableWebhookEndpoint("gone"),
    EnableWebhookEndpoint(),
    DeleteWebhookEndpoint(),
]


def after(*commands: WebhookEndpointCommand, second: int = 100) -> WebhookEndpoint:
    """A new endpoint after more commands, one every `OVERLAP` seconds less one."""
    endpoint = evolve(None, CREATED, second)
    for place, command in enumerate(commands):
        for event in decide(endpoint, command):
            endpoint = evolve(endpoint, event, second + place * (OVERLAP - 1))
    return endpoint


@given(st.lists(st.sampled_from(COMMANDS)))
def test_an_endpoint_is_made_once_and_its_end_is_the_end(commands: list[WebhookEndpointCommand]) -> None:
    endpoint: WebhookEndpoint | None = None
    for second, command in enumerate(commands):
        before = endpoint
        for event in decide(endpoint, command):
            endpoint = evolve(endpoint, event, second)
        if not isinstance(command, RotateWebhookSecret):
            assert decide(endpoint, command) == []
        if before is not None and before.deleted_at is not None:
            assert endpoint == before
        assert endpoint is None or endpoint.updated_at >= endpoint.created_at


def test_an_endpoint_begins_with_its_creation() -> None:
    with pytest.raises(ValueError, match="begins with WebhookEndpointCreated"):
        evolve(None, WebhookEndpointDeleted(), 0)


def test_what_is_not_named_in_an_update_stays() -> None:
    endpoint = after(UpdateWebhookEndpoint(name="other"))
    assert (endpoint.name, endpoint.url, endpoint.event_types) == ("other", CREATED.url, CREATED.event_types)


def test_an_update_that_changes_nothing_is_no_event() -> None:
    same = UpdateWebhookEndpoint(CREATED.name, CREATED.url, CREATED.event_types)
    assert decide(after(), same) == []


def test_a_rotation_drops_the_old_secret_at_once() -> None:
    endpoint = after(RotateWebhookSecret(trace("second")))
    assert endpoint.signing(0) == [trace("second")]


def test_a_rotation_may_keep_the_old_secret_for_a_day() -> None:
    endpoint = after(RotateWebhookSecret(trace("second"), keep_old=True))
    assert endpoint.signing(100 + OVERLAP - 1) == [trace("second"), trace("first")]
    assert endpoint.signing(100 + OVERLAP) == [trace("second")]


def test_a_second_rotation_prolongs_no_secret_and_may_end_all_old_ones() -> None:
    keep = RotateWebhookSecret(trace("second"), keep_old=True)
    both = after(keep, RotateWebhookSecret(trace("third"), keep_old=True))
    assert both.signing(100 + OVERLAP - 1) == [trace("third"), trace("second"), trace("first")]
    assert both.signing(100 + OVERLAP) == [trace("third"), trace("second")]
    assert after(keep, RotateWebhookSecret(trace("third"))).signing(101) == [trace("third")]


def test_of_many_old_secrets_the_newest_are_kept() -> None:
    endpoint = after()
    for n in range(9):
        [rotated] = decide(endpoint, RotateWebhookSecret(trace(str(n)), keep_old=True))
        endpoint = evolve(endpoint, rotated, 100 + n)
    assert MOST_OLD_SECRETS == 4
    assert endpoint.signing(109) == [trace(name) for name in "87654"]


def test_a_disabled_endpoint_says_why_and_may_be_enabled() -> None:
    disabled = after(DisableWebhookEndpoint("it said 410"))
    assert (disabled.open, disabled.disabled_because) == (False, "it said 410")
    enabled = after(DisableWebhookEndpoint("it said 410"), EnableWebhookEndpoint())
    assert (enabled.open, enabled.disabled_because) == (True, None)
