"""Idempotency keys: a request that is sent again with its key makes nothing twice.

The id of what is made is derived from the project and the key, so the log itself refuses a twin, and nothing
more has to be kept: a key is known for as long as what was made with it.
"""

import hashlib
from typing import Final

from api.errors import NO_RETRY, ApiError, too_long
from events.event import length_prefixed

FIELD: Final = "idempotency_key"
"""The field of a JSON body that some clients send."""
HEADER: Final = "idempotency-key"
_LONGEST: Final = 255


def idempotency_key(header: str | None, field: str | None) -> str | None:
    """The key that a request has, in its header or its body or alike in both. Raises `ApiError`."""
    if header is not None and field is not None and header != field:
        raise ApiError(
            400,
            f"Invalid '{FIELD}': the body names another key than the header 'Idempotency-Key'.",
            param=FIELD,
        )
    key = field if header is None else header
    if key == "":
        raise ApiError(
            400,
            f"Invalid '{FIELD}': empty string. "
            "Expected a string with minimum length 1, but got an empty string instead.",
            param=FIELD,
            code="empty_string",
        )
    if key is not None and len(key) > _LONGEST:
        raise too_long(FIELD, _LONGEST, len(key))
    return key


def derived_hex(kind: str, project_id: str, key: str) -> str:
    """32 hex digits for the id of the object of a kind that a project makes with a key; always the same."""
    parts = [part.encode("utf-8", "surrogatepass") for part in ("idempotency", kind, project_id, key)]
    return hashlib.sha256(length_prefixed(parts)).hexdigest()[:32]


def conflict(key: str, made: str) -> ApiError:
    """The key was used before for something else; `made` says what."""
    return ApiError(
        409,
        f"Idempotency conflict: the key '{key}' was used before to make {made}. "
        f"Send another '{FIELD}' with a request for something else.",
        param=FIELD,
        code="idempotency_conflict",
        headers=NO_RETRY,
    )
