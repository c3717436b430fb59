"""Errors as the description says them: every code and what it means, which ones a body or a query brings
along, and the answers that any operation may give."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from api.errors import INVALID, SERVER
from api.openapi.entry import JSON, Refused, Schema

CODES: Final[Mapping[str, str]] = {
    "missing_required_parameter": "A required parameter is absent.",
    "unknown_parameter": "There is no parameter of that name.",
    "invalid_type": "A parameter is of another type.",
    "invalid_value": "A parameter has none of the values that are supported.",
    "integer_below_min_value": "A number is too small.",
    "integer_above_max_value": "A number is too large.",
    "string_above_max_length": "A text is too long.",
    "string_below_min_length": "A text is empty.",
    "property_name_above_max_length": "A key of `metadata` is too long.",
    "object_above_max_properties": "`metadata` has too many pairs.",
    "empty_string": "An idempotency key is empty.",
    "empty_array": "An array is empty.",
    "idempotency_conflict": "The idempotency key was used before for something else. Not to be retried.",
    "invalid_api_key": "There is no such key, or it was revoked or has expired.",
    "missing_scope": "The key is not allowed to do this.",
    "model_not_found": "The upstream has no such model.",
    "rate_limit_exceeded": "The project asks too often; `retry-after` says when to ask again.",
    "insufficient_quota": "The project may not store so much. Not to be retried.",
    "too_many_webhook_endpoints": "The project has as many webhook endpoints as it may.",
    "webhook_test_failed": "The receiver did not answer to the sample.",
}

HEAD: Final = "A header is not as it should be."
IN_BODY: Final = ("missing_required_parameter", "invalid_type", "unknown_parameter")
NO_OBJECT: Final = "The body is no JSON object."
IN_PAGE: Final = ("invalid_type", "integer_below_min_value", "integer_above_max_value")
IN_EXPIRY: Final = ("invalid_value", "integer_below_min_value", "integer_above_max_value")
IN_KEY: Final = ("empty_string", "string_above_max_length")


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """An error that several operations have alike. `code` is one that it may have, for the example."""

    name: str
    says: str
    codes: Sequence[str] = ()
    nullable: bool = True
    type: str = INVALID
    message: str
    code: str | None = None
    headers: Sequence[str] = ()

    def and_also(self, refused: Refused) -> Refused:
        """The same with what an operation has to say of its own."""
        words = [text for text in (self.says if self.nullable else None, refused.otherwise) if text]
        return Refused(codes=(*self.codes, *refused.codes), otherwise=" Or: ".join(words) or None)


COMMON: Final[Mapping[int, Common]] = {
    401: Common(
        name="Unauthorized",
        says="There is no key, or none that is known.",
        codes=("invalid_api_key",),
        message="Incorrect API key provided: sk-ab***yz. You can make a key with `batchmill keys create`.",
        code="invalid_api_key",
        headers=("www-authenticate",),
    ),
    403: Common(
        name="Forbidden",
        says="The key is not allowed to do this.",
        codes=("missing_scope",),
        nullable=False,
        message="You have insufficient permissions for this operation. Missing scopes: write. The scopes of "
        "this key are: read. You can make another key with `batchmill keys create --scopes write`.",
        code="missing_scope",
    ),
    408: Common(
        name="TooSlow",
        says="The body comes too slowly.",
        message="The request's body comes too slowly: it stopped after 1024 bytes.",
    ),
    413: Common(
        name="TooLarge",
        says="The body is larger than the server takes.",
        type=SERVER,
        message="Maximum content size limit (1048576) exceeded (2097152 bytes read)",
    ),
    429: Common(
        name="TooMany",
        says="The project asks too often.",
        codes=("rate_limit_exceeded",),
        nullable=False,
        type="requests",
        message="Rate limit reached for requests in project default on requests per min: Limit 600. "
        "Please try again in 100ms.",
        code="rate_limit_exceeded",
        headers=("retry-after",),
    ),
    431: Common(
        name="HeadTooLarge",
        says="The request's line and headers are too large together.",
        message="The request's headers are larger than 65536 bytes.",
    ),
    500: Common(
        name="Failed",
        says="Something is wrong in the server; its log has more, under the answer's `x-request-id`. Or: old "
        "events that the answer needs are damaged in storage, as the message says. The latter is not to be "
        "retried.",
        type=SERVER,
        message="The server had an error while processing your request.",
        headers=("x-should-retry",),
    ),
    503: Common(
        name="Unavailable",
        says="Something that the server needs does not answer now; `retry-after` says when to ask again.",
        type=SERVER,
        message="The server is overloaded or its database is not ready. Please try again.",
        headers=("retry-after",),
    ),
    507: Common(
        name="Full",
        says="There is no room for what was sent. Not to be retried at once.",
        type=SERVER,
        message="The server's file storage is full. Delete files, or ask its operator for room.",
        headers=("x-should-retry",),
    ),
}


def said(refused: Refused) -> str:
    """The description of an error answer."""
    lines = [] if refused.otherwise is None else [f"- without a code: {refused.otherwise}"]
    return "\n".join([*lines, *(f"- `{code}`: {CODES[code]}" for code in refused.codes)])


def content(refused: Refused, examples: Mapping[str, object]) -> Mapping[str, object]:
    """The body of an error answer: the envelope, with the codes that it may have."""
    codes: list[str | None] = list(refused.codes)
    if refused.otherwise is not None:
        codes.append(None)
    narrowed: Schema = {
        "allOf": [
            {"$ref": "#/components/schemas/ErrorEnvelope"},
            {"properties": {"error": {"properties": {"code": {"enum": codes}}}}},
        ]
    }
    return {JSON: {"schema": narrowed, **({"examples": examples} if examples else {})}}
