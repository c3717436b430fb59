"""What schemathesis has to be told of this API."""

from typing import Any

import schemathesis
from schemathesis import Case
from schemathesis.hooks import HookContext
from schemathesis.transport import SerializationContext


@schemathesis.serializer("application/jsonl")
def as_lines(_: SerializationContext, value: object) -> bytes:
    """An input as it stands."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def map_case(_: HookContext, case: "Case[Any]") -> "Case[Any]":
    """A request has one idempotency key: no schema can say that one in its head and one in its body must be
    alike."""
    if isinstance(case.body, dict) and "idempotency_key" in case.body:
        case.headers.pop("Idempotency-Key", None)
    return case
