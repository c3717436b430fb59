"""Signing secrets of webhook endpoints, and the signatures of Standard Webhooks made with them.

No secret is kept anywhere. It is derived from the installation's webhook key and a random salt, and only the
salt is in the log: without the key, which is not in the database, nobody can sign.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from events.errors import BatchmillError

SECRET_PREFIX: Final = "whsec_"
LEAST_KEY: Final = 32
"""Characters that a webhook key must have: nothing else stands between a copied database and a forgery."""
_PURPOSE: Final = b"batchmill webhook secret 1"


class SecretUnavailable(BatchmillError):
    """A signing secret cannot be derived here: there is no webhook key, or it is another one."""


class SecretTrace(msgspec.Struct, frozen=True):
    """What the log keeps of a signing secret: the salt it is derived with, what a list may show of it, and a
    digest that tells whether it was derived with the right key."""

    salt: str
    hint: str
    fingerprint: str


class WebhookKey:
    """The key that every signing secret of an installation is derived from."""

    def __init__(self, text: str) -> None:
        self._key = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

    def fresh(self, endpoint_id: str) -> tuple[str, SecretTrace]:
        """A new signing secret for an endpoint, and the trace that leads back to it."""
        salt = secrets.token_hex(16)
        secret = self._derived(endpoint_id, salt)
        return secret, SecretTrace(salt, f"{SECRET_PREFIX}…{secret[-4:]}", _fingerprint(secret))

    def secret(self, endpoint_id: str, trace: SecretTrace) -> str:
        """The signing secret that a trace belongs to. Raises `SecretUnavailable` where it was derived with
        another key."""
        secret = self._derived(endpoint_id, trace.salt)
        if not hmac.compare_digest(_fingerprint(secret), trace.fingerprint):
            raise SecretUnavailable(
                f"the signing secret of {endpoint_id} was made with another webhook key: set that one in "
                "BATCHMILL_WEBHOOK_KEY, or rotate the secret"
            )
        return secret

    def _derived(self, endpoint_id: str, salt: str) -> str:
        message = b"\0".join([_PURPOSE, endpoint_id.encode(), salt.encode()])
        return SECRET_PREFIX + base64.b64encode(hmac.digest(self._key, message, "sha256")).decode()


def signing_secrets(key: WebhookKey | None, endpoint_id: str, traces: Sequence[SecretTrace]) -> list[str]:
    """The secrets that traces belong to, in their order: the current one, then old ones that sign beside it.

    Raises `SecretUnavailable` for the current one. Old ones that were derived with another key are left out:
    what only they would sign is lost, and must not hold up what the current one signs.
    """
    key = require_key(key)
    current, *old = traces
    secrets = [key.secret(endpoint_id, current)]
    for trace in old:
        with suppress(SecretUnavailable):
            secrets.append(key.secret(endpoint_id, trace))
    return secrets


def require_key(key: WebhookKey | None) -> WebhookKey:
    """The key. Raises `SecretUnavailable` where there is none."""
    if key is None:
        raise SecretUnavailable(
            "there is no webhook key: set BATCHMILL_WEBHOOK_KEY, the same for every process"
        )
    return key


def signed_headers(delivery_id: str, second: int, body: bytes, secrets: Sequence[str]) -> Mapping[str, str]:
    """The three headers of Standard Webhooks for a body that is sent at `second` (Unix time), with one
    signature for each of `secrets` (`whsec_…`)."""
    signed = b"%s.%d.%s" % (delivery_id.encode(), second, body)
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(second),
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _fingerprint(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:32]
