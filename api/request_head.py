"""What a request's head must be before anything else looks at it."""

from typing import Final

from litestar.types import HTTPScope

from api.errors import ApiError

HEAD_BYTES: Final = 64 << 10
"""Most bytes of a head."""
_PATH_BYTES: Final = 2048
"""A longer path names nothing here; without the limit the router's cache would keep whatever is sent."""
_CLIENT_ID_CHARACTERS: Final = 512
_SENT_ONCE: Final = (b"authorization", b"api-key", b"idempotency-key")
"""A proxy before us may have looked at another one of several."""


def head_too_large() -> ApiError:
    """A head is over its limit."""
    return ApiError(431, f"The request's headers are larger than {HEAD_BYTES} bytes.")


def refusal(scope: HTTPScope) -> ApiError | None:
    """What is wrong with the head of a request, if anything."""
    size = len(scope["raw_path"]) + len(scope["query_string"])
    seen: set[bytes] = set()
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name == b"x-client-request-id" and (len(value) > _CLIENT_ID_CHARACTERS or not value.isascii()):
            return ApiError(
                400,
                f"Invalid 'X-Client-Request-Id': expected at most {_CLIENT_ID_CHARACTERS} ASCII characters.",
                param="X-Client-Request-Id",
            )
        if name in seen:
            said = name.decode().title()
            return ApiError(400, f"Invalid '{said}': expected it once, but got it again.", param=said)
        if name in _SENT_ONCE:
            seen.add(name)
    if size > HEAD_BYTES:
        return head_too_large()
    if len(scope["raw_path"]) > _PATH_BYTES:
        return ApiError(404, f"Invalid URL ({scope['method']} with a path of {len(scope['raw_path'])} bytes)")
    return None
