"""From an upstream's answer to what is stored of it: the body on one line, its tokens, its line of a file.

Pure. Bytes stay bytes: a body is checked and put on one line, never decoded and written anew, so whatever an
upstream says comes back as it was said, also what no parser can hold (lone surrogates, 1e400, nesting).
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Final

import msgspec

from engine.upstream import Answer
from events.batch import Usage
from events.json_scan import is_json, members, one_line

MESSAGE_CHARACTERS: Final = 1_000
"""How much of a body that is not JSON goes into the error that takes its place."""

_TOKENS_AT_MOST: Final = 10**12
"""A larger count is a mistake, and a million of them would leave what the database can sum."""

_REQUEST_ID_CHARACTERS: Final = 200


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An HTTP answer as a line keeps it: `body` is valid JSON on one line, `usage` a success's tokens."""

    status: int
    request_id: str
    body: bytes
    usage: Usage

    @property
    def success(self) -> bool:
        """Whether the line belongs into the output file."""
        return 200 <= self.status < 300


class InvalidResponse(msgspec.Struct, frozen=True):
    """A 2xx answer whose body is not JSON: nothing a client of the API could have meant by success."""

    status: int
    content_type: str
    size: int


def conclude(answer: Answer, random_bits: Callable[[int], int]) -> Reply | InvalidResponse:
    """What an answer is worth; `random_bits` (such as `random.getrandbits`: an
    id is no secret) names a request that the upstream did not."""
    success = 200 <= answer.status < 300
    usage = _read(answer.body)
    if usage is None:
        if success:
            content_type = answer.headers.get("content-type", "none")
            return InvalidResponse(answer.status, content_type, len(answer.body))
        return Reply(answer.status, _request_id(answer, random_bits), _error_body(answer.body), Usage())
    body = one_line(answer.body)
    return Reply(answer.status, _request_id(answer, random_bits), body, usage if success else Usage())


def line_id(batch_id: str, line: int) -> str:
    """The id of a line in a result file: the same whoever makes it, so a file made twice is the same file."""
    return f"batch_req_{_digits_of(batch_id)}{line:08x}"


@lru_cache(maxsize=256)
def _digits_of(batch_id: str) -> str:
    """What the ids of a batch's lines begin with: 96 bits that no other batch's do."""
    return hashlib.sha256(batch_id.encode()).hexdigest()[:24]


def output_line(line_id: str, custom_id_json: bytes, status: int, request_id: str, body: bytes) -> bytes:
    """A line of an output or error file for an HTTP answer; `custom_id_json` is the JSON string token."""
    return (
        b'{"id":"%b","custom_id":%b,"response":{"status_code":%d,"request_id":%b,"body":%b},"error":null}\n'
        % (
            line_id.encode(),
            custom_id_json,
            status,
            msgspec.json.encode(request_id),
            body,
        )
    )


def error_line(line_id: str, custom_id_json: bytes, code: str, message: str) -> bytes:
    """A line of an error file for a request that got no usable HTTP answer."""
    return b'{"id":"%b","custom_id":%b,"response":null,"error":{"code":%b,"message":%b}}\n' % (
        line_id.encode(),
        custom_id_json,
        msgspec.json.encode(code),
        msgspec.json.encode(message),
    )


_Count = Annotated[int, msgspec.Meta(ge=0, le=_TOKENS_AT_MOST)]


class _InputDetails(msgspec.Struct):
    cached_tokens: _Count | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: _Count | None = None


class _ReportedUsage(msgspec.Struct):
    """Both spellings: of chat completions, completions and embeddings, and of responses and images."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Body(msgspec.Struct):
    usage: _ReportedUsage | None = None


_BODY: Final = msgspec.json.Decoder(_Body)


def _read(body: bytes) -> Usage | None:
    """The tokens that valid JSON reports, missing and odd ones as 0; None when it is not JSON.

    One typed decode checks and reads almost every answer. It accepts invalid UTF-8 in what it skips, hence
    the first step; what it refuses (also for being odd or unholdable) is looked at byte by byte.
    """
    try:
        body.decode()
        reported = _BODY.decode(body).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _scanned_usage(body) if is_json(body) else None
    if reported is None:
        return Usage()
    prompt = reported.prompt_tokens is not None
    completion = reported.completion_tokens is not None
    input_details = reported.prompt_tokens_details or reported.input_tokens_details
    output_details = reported.completion_tokens_details or reported.output_tokens_details
    return _usage(
        (reported.prompt_tokens if prompt else reported.input_tokens) or 0,
        (reported.completion_tokens if completion else reported.output_tokens) or 0,
        (input_details.cached_tokens if input_details else 0) or 0,
        (output_details.reasoning_tokens if output_details else 0) or 0,
    )


def _scanned_usage(body: bytes) -> Usage:
    """The same tokens from valid JSON that a parser cannot hold or that counts in odd ways."""
    reported = _object(_object(body).get("usage", b""))

    def count(of: dict[str, bytes], *names: str) -> int:
        token = next((of[name] for name in names if of.get(name, b"null") != b"null"), b"")
        number = int(token) if token.isdigit() and len(token) <= len(str(_TOKENS_AT_MOST)) else 0
        return number if number <= _TOKENS_AT_MOST else 0

    def details(*names: str) -> dict[str, bytes]:
        return _object(
            next((reported[name] for name in names if reported.get(name, b"null") != b"null"), b"")
        )

    return _usage(
        count(reported, "prompt_tokens", "input_tokens"),
        count(reported, "completion_tokens", "output_tokens"),
        count(details("prompt_tokens_details", "input_tokens_details"), "cached_tokens"),
        count(details("completion_tokens_details", "output_tokens_details"), "reasoning_tokens"),
    )


def _object(value: bytes) -> dict[str, bytes]:
    """The members of a JSON object, the last of a repeated name; of anything else none."""
    try:
        return dict(members(value))
    except ValueError:
        return {}


def _usage(read: int, written: int, cached: int, reasoning: int) -> Usage:
    return Usage(read, written, cached, reasoning, read + written)


def _error_body(body: bytes) -> bytes:
    """The envelope that stands for a body which is not JSON, such as a proxy's page."""
    message = body[: 4 * MESSAGE_CHARACTERS].decode(errors="replace")[:MESSAGE_CHARACTERS]
    error = {"message": message, "type": "upstream_error", "param": None, "code": None}
    return msgspec.json.encode({"error": error})


def _request_id(answer: Answer, random_bits: Callable[[int], int]) -> str:
    given = answer.headers.get("x-request-id", "")
    if 0 < len(given) <= _REQUEST_ID_CHARACTERS and given.isascii() and given.isprintable():
        return given
    return f"req_{random_bits(128):032x}"
