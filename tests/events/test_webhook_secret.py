"""Signatures that the official SDK accepts, with secrets that are kept nowhere."""

import base64
import time

import msgspec
import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from openai.types.webhooks import BatchCompletedWebhookEvent

from events.webhooks.event import Announcement
from events.webhooks.secret import SecretUnavailable, WebhookKey, signed_headers, signing_secrets

BODY = Announcement("evt_1", "batch.completed", "batch_ü", 1_790_000_000).body()
KEY = WebhookKey("the key of this installation, kept apart from its database")


@pytest.fixture(scope="module")
def client() -> OpenAI:
    return OpenAI(api_key="sk-none")


def now() -> int:
    return int(time.time())


def test_the_sdk_unwraps_what_was_signed(client: OpenAI) -> None:
    secret, _ = KEY.fresh("we_1")
    event = client.webhooks.unwrap(BODY, dict(signed_headers("wh_1", now(), BODY, [secret])), secret=secret)
    assert isinstance(event, BatchCompletedWebhookEvent)
    assert event.data.id == "batch_ü"


def test_while_secrets_overlap_either_is_enough(client: OpenAI) -> None:
    old, new = KEY.fresh("we_1")[0], KEY.fresh("we_1")[0]
    headers = dict(signed_headers("wh_1", now(), BODY, [new, old]))
    for secret in (old, new):
        client.webhooks.verify_signature(BODY, headers, secret=secret)
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.verify_signature(BODY, headers, secret=KEY.fresh("we_1")[0])


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "body"])
def test_nothing_can_be_changed(client: OpenAI, changed: str) -> None:
    secret, _ = KEY.fresh("we_1")
    second = now()
    headers = dict(signed_headers("wh_1", second, BODY, [secret]))
    told = {"webhook-id": "wh_2", "webhook-timestamp": str(second - 1)}
    body = BODY + b" " if changed == "body" else BODY
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.verify_signature(
            body, headers | {k: v for k, v in told.items() if k == changed}, secret=secret
        )


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of Standard Webhooks."""
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_comes_back_from_its_trace_and_only_with_its_key() -> None:
    secret, trace = KEY.fresh("we_1")
    assert KEY.secret("we_1", trace) == secret
    for other, endpoint in ((WebhookKey("another key"), "we_1"), (KEY, "we_2")):
        with pytest.raises(SecretUnavailable, match="another webhook key"):
            other.secret(endpoint, trace)


def test_of_the_secrets_that_sign_only_the_current_one_must_come_from_this_key() -> None:
    """After another webhook key was set and the secret rotated: what the old one signed, nobody can sign."""
    (current, now), (_, lost), (old, kept) = (
        KEY.fresh("we_1"),
        WebhookKey("old").fresh("we_1"),
        KEY.fresh("we_1"),
    )
    assert signing_secrets(KEY, "we_1", [now, lost, kept]) == [current, old]
    for key in (WebhookKey("old"), None):
        with pytest.raises(SecretUnavailable):
            signing_secrets(key, "we_1", [now, lost])


def test_a_secret_is_long_and_its_trace_does_not_tell_it() -> None:
    secret, trace = KEY.fresh("we_1")
    raw = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    assert len(raw) == 32
    assert trace.hint == "whsec_…" + secret[-4:]
    assert secret[6:-4] not in msgspec.json.encode(trace).decode()
    assert KEY.fresh("we_1")[0] != secret
