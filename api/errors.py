"""What goes wrong, in the one shape in which the API says it: `{"error": {message, type, param, code}}`.

Every message names the parameter, because some SDKs show nothing but the message. What this room cannot
explain becomes a 500 that tells nothing of the inside; it is logged once, with the id the client was given.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from events.errors import (
    CannotCancel,
    DatabaseUnavailable,
    LogBusy,
    UnknownEvent,
    UploadRefused,
    VersionConflict,
)
from events.segments.shelf import SegmentDamaged
from storage.store import StorageFull, StorageUnavailable

_logger = structlog.get_logger()
INVALID: Final = "invalid_request_error"
SERVER: Final = "server_error"
NO_RETRY: Final = {"x-should-retry": "false"}
"""Keeps the SDKs from repeating what cannot succeed; they repeat every 409 and 5xx otherwise."""
SOON: Final = {"retry-after": "1"}


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        type: str = INVALID,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.type = type
        self.headers = headers or {}

    def body(self) -> bytes:
        """The envelope."""
        return msgspec.json.encode(_Envelope(_Error(self.message, self.type, self.param, self.code)))


class _Error(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str | None


class _Envelope(msgspec.Struct, frozen=True):
    error: _Error


class ClientGone(Exception):
    """The client closed the connection before its request was complete: nobody will read an answer."""


def missing_parameter(name: str) -> ApiError:
    """A required parameter is absent."""
    return ApiError(
        400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
    )


def unknown_parameter(name: str) -> ApiError:
    """There is no such parameter."""
    return ApiError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def invalid_value(name: str, value: str, supported: tuple[str, ...]) -> ApiError:
    """A parameter has none of its values."""
    message = f"Invalid value: '{_brief(value)}'. Supported values are: {_listed(supported)}."
    return ApiError(400, message, param=name, code="invalid_value")


def invalid_type(name: str, expected: str, value: object) -> ApiError:
    """A parameter is of another JSON type; `expected` has its article."""
    message = f"Invalid type for '{name}': expected {expected}, but got {_kind(value)} instead."
    return ApiError(400, message, param=name, code="invalid_type")


def below_minimum(name: str, least: int, value: int) -> ApiError:
    """A number is too small."""
    message = (
        f"Invalid '{name}': integer below minimum value. "
        f"Expected a value >= {least}, but got {_brief(str(value))} instead."
    )
    return ApiError(400, message, param=name, code="integer_below_min_value")


def above_maximum(name: str, most: int, value: int) -> ApiError:
    """A number is too large."""
    message = (
        f"Invalid '{name}': integer above maximum value. "
        f"Expected a value <= {most}, but got {_brief(str(value))} instead."
    )
    return ApiError(400, message, param=name, code="integer_above_max_value")


def too_long(name: str, most: int, length: int) -> ApiError:
    """A text is too long, in characters."""
    message = (
        f"Invalid '{name}': string too long. "
        f"Expected a string with maximum length {most}, but got a string with length {length} instead."
    )
    return ApiError(400, message, param=name, code="string_above_max_length")


def too_large(most: int, read: int) -> ApiError:
    """A request body is over the server's cap; `read` is what is known of its bytes."""
    return ApiError(413, f"Maximum content size limit ({most}) exceeded ({read} bytes read)", type=SERVER)


def no_such_file(file_id: str) -> ApiError:
    """No file of that id is visible to the project."""
    return ApiError(404, f"No such File object: {_brief(file_id)}", param="id")


def no_such_batch(batch_id: str) -> ApiError:
    """No batch of that id is visible to the project."""
    return ApiError(404, f"No batch found with id '{_brief(batch_id)}'.")


def no_such_upload(upload_id: str) -> ApiError:
    """No upload of that id is the project's."""
    return ApiError(404, f"No such Upload object: {_brief(upload_id)}", param="id")


def unavailable(message: str) -> ApiError:
    """Something the server needs does not answer; asking again soon may help."""
    return ApiError(503, message, type=SERVER, headers=SOON)


def storage_full(message: str) -> ApiError:
    """There is no room for what was sent; an immediate repetition would not find any either."""
    return ApiError(507, message, type=SERVER, headers=NO_RETRY)


def answer_error(request: Request[object, object, State], error: Exception) -> Response[bytes]:
    """The exception handler of the application: every error as an envelope."""
    known = _known(request, error)
    if known is None:
        _logger.error("request failed", **_about(request), exc_info=error)
        known = ApiError(500, "The server had an error while processing your request.", type=SERVER)
    elif known.status >= 500 and known is not error:
        _logger.warning("request refused", **_about(request), reason=str(error))
    return Response(
        known.body(),
        status_code=known.status,
        headers=dict(known.headers),
        media_type="application/json",
    )


def _about(request: Request[object, object, State]) -> dict[str, object]:
    """The keys by which a request is found in the log of the process: of a path no custom_id, which is a
    client's text."""
    head, lines, custom_id = request.scope["path"].partition("/lines/")
    return {
        "request_id": request.scope["state"].get("request_id"),
        "method": request.method,
        "path": f"{head}{lines}…" if custom_id else request.scope["path"],
    }


def _known(request: Request[object, object, State], error: Exception) -> ApiError | None:
    path = request.scope["raw_path"].decode("ascii", "replace")
    match error:
        case ApiError():
            return error
        case CannotCancel():
            return ApiError(409, str(error), headers=NO_RETRY)
        case UploadRefused():
            return ApiError(400, str(error), param=error.param)
        case LogBusy() | DatabaseUnavailable() | VersionConflict():
            return unavailable("The server is overloaded or its database is not ready. Please try again.")
        case UnknownEvent():
            return unavailable("A newer version of this server changed the object. Please try again later.")
        case SegmentDamaged():
            return ApiError(500, f"Old events cannot be read: {error}.", type=SERVER, headers=NO_RETRY)
        case StorageUnavailable():
            return unavailable("The server's file storage does not answer. Please try again.")
        case StorageFull():
            return storage_full(
                "The server's file storage is full. Delete files, or ask its operator for room."
            )
        case ClientGone():
            return ApiError(400, "The request ended before its body was complete.")
        case NotFoundException():
            return ApiError(404, f"Invalid URL ({request.method} {_brief(path)})")
        case MethodNotAllowedException():
            return ApiError(
                405,
                f"Not allowed to {request.method} on {_brief(path)}. "
                "(HINT: Perhaps you meant to use a different HTTP method?)",
                headers=error.headers,
            )
        case HTTPException() if error.status_code < 500:
            status = 400 if error.status_code == 422 else error.status_code
            return ApiError(status, error.detail, headers=error.headers)
        case _:
            return None


def _brief(text: str) -> str:
    """What a client sent, short enough to be sent back."""
    return text if len(text) <= 128 else f"{text[:125]}..."


def _listed(values: tuple[str, ...]) -> str:
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return ", ".join(quoted[:-1]) + f", and {quoted[-1]}"


def _kind(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case None:
            return "null"
        case list():
            return "an array"
        case _:
            return "an object"
