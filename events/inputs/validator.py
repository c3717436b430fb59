"""The pure validator of input lines: what a request line must be before its batch may start.

Codes, params and messages are those of the OpenAI Batch API. A body is only looked at where the batch
needs it (model, stream, the one field without which the endpoint has nothing to do): wrong values deeper
inside are for the upstream to refuse.

A good line takes the fast path, which only ever says yes. Every other line, and every good one that
msgspec cannot hold (lone surrogates, deep nesting), is judged on spans of bytes.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Final, Generic, Literal, NamedTuple, TypeVar, cast

import msgspec

from events import json_scan

MAX_CUSTOM_ID: Final = 512
"""Characters of a custom_id."""
MAX_MODEL: Final = 256
"""Characters of a model name; it is copied into events and messages."""
_MAX_QUOTED: Final = 128


class LineError(msgspec.Struct, frozen=True):
    """One entry of a batch's `errors`. `line` counts from 1, blank lines included; None: the whole file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class RequestLine(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a good line. `custom_id` may hold lone surrogates, which cannot be encoded.
    `embedding_inputs` is 0 on other endpoints."""

    custom_id: str
    model: str
    embedding_inputs: int


class LineRules(msgspec.Struct, frozen=True):
    """What the lines of one batch are held to. Without `known_models` any model will do."""

    endpoint: str
    max_line_bytes: int = 16 << 20
    known_models: frozenset[str] | None = None


class _Once:
    """A value whose name may stand only once. msgspec keeps the last of repeated ones, but hands each value
    of a type that it does not know to its hook: repeats show there, however their names are written."""


class _Model(_Once):
    pass


class _Stream(_Once):
    pass


class _Body(msgspec.Struct, gc=False, kw_only=True):
    model: _Model
    stream: _Stream | msgspec.UnsetType = msgspec.UNSET


class _MessagesBody(_Body, gc=False, kw_only=True):
    messages: msgspec.Raw


class _InputBody(_Body, gc=False, kw_only=True):
    input: msgspec.Raw


class _PromptBody(_Body, gc=False, kw_only=True):
    prompt: msgspec.Raw


_B = TypeVar("_B", bound=_Body, covariant=True)


class _Line(msgspec.Struct, Generic[_B], gc=False):
    custom_id: str
    method: Literal["POST"]
    url: str
    body: _B


class _Endpoint(NamedTuple):
    """`api` is its name in messages, `needs` the field of its body, besides the model, that must be there."""

    api: str
    needs: str | None
    line: type[_Line[_Body]]


_ENDPOINTS: Final[Mapping[str, _Endpoint]] = {
    "/v1/responses": _Endpoint("Responses", None, _Line[_Body]),  # a stored prompt may stand in for `input`
    "/v1/chat/completions": _Endpoint("Chat Completions", "messages", _Line[_MessagesBody]),
    "/v1/embeddings": _Endpoint("Embeddings", "input", _Line[_InputBody]),
    "/v1/completions": _Endpoint("Completions", "prompt", _Line[_PromptBody]),
    "/v1/moderations": _Endpoint("Moderations", "input", _Line[_InputBody]),
    "/v1/images/generations": _Endpoint("Image Generations", "prompt", _Line[_PromptBody]),
    "/v1/images/edits": _Endpoint("Image Edits", "prompt", _Line[_PromptBody]),
    "/v1/videos": _Endpoint("Videos", "prompt", _Line[_PromptBody]),
}
_COUNTS_INPUTS: Final = "/v1/embeddings"


def supported_endpoints() -> tuple[str, ...]:
    """The endpoints a batch may name, in the order in which they are shown."""
    return tuple(_ENDPOINTS)


class LineValidator:
    """Judges the lines of one batch, in one thread at a time."""

    def __init__(self, rules: LineRules) -> None:
        self._rules = rules
        self._once: dict[type[_Once], object] = {}
        self._decode = msgspec.json.Decoder(
            _ENDPOINTS[rules.endpoint].line, dec_hook=partial(_take_once, self._once)
        ).decode

    def validate(self, raw: bytes, number: int) -> RequestLine | LineError:
        """Judges `raw`, the physical line `number` of the file, without its newline; a CR at its end is
        ignored.

        A bad line has one error, the first in this order: length, JSON, custom_id, method, url, body,
        repeated names in the body, stream, model, the field the endpoint needs. Of names repeated elsewhere
        the last counts. The model is held against the known ones; that lines agree is for the whole file to
        tell.
        """
        raw = raw.removesuffix(b"\r")
        if len(raw) > self._rules.max_line_bytes:
            return line_too_long(len(raw), number, self._rules)
        accepted = self._accept(raw)
        if accepted is not None:
            return accepted
        try:
            return _judge(raw, self._rules)
        except _BadLine as bad:
            return LineError(bad.code, bad.message, bad.param, number)

    def _accept(self, raw: bytes) -> RequestLine | None:
        """The line when it is plainly good; None when it takes a closer look."""
        rules, once = self._rules, self._once
        if len(raw) > _ROOMY and _may_swell(raw):
            return None
        once.clear()
        try:
            raw.decode("utf-8")  # msgspec does not look inside Raw and skipped fields
            line = self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if line.url != rules.endpoint or not 0 < len(line.custom_id) <= MAX_CUSTOM_ID:
            return None
        model, stream = once[_Model], once.get(_Stream)
        if not isinstance(model, str) or not _is_name(model) or not (stream is None or stream is False):
            return None
        if rules.known_models is not None and model not in rules.known_models:
            return None
        inputs = 0
        if rules.endpoint == _COUNTS_INPUTS:
            inputs = _count_inputs(bytes(cast(_InputBody, line.body).input))
        return RequestLine(line.custom_id, model, inputs)


_ROOMY: Final = 256 << 10
"""Bytes of a line that are decoded whatever they are."""
_SWELLING: Final = tuple(
    re.compile(rb'"%b"[ \t\n\r]*:[ \t\n\r]*[\[{]' % name) for name in (b"model", b"stream")
)


def _may_swell(raw: bytes) -> bool:
    """Whether the model or `stream` may be an array or object: False is sure, True is not.

    The hook gets it decoded, and a list of empty objects takes 25 times its bytes. A name shows as it is,
    unless a letter of it is written as an escape, and all of them are between U+0060 and U+007F.
    """
    return b"\\u006" in raw or b"\\u007" in raw or any(found.search(raw) for found in _SWELLING)


def _take_once(taken: dict[type[_Once], object], kind: type[_Once], value: object) -> _Once:
    """Notes the value of this kind; a second one ends the decoding."""
    if kind in taken:
        raise ValueError("given more than once")  # msgspec makes it a DecodeError
    taken[kind] = value
    return kind()


def line_too_long(length: int, number: int, rules: LineRules) -> LineError:
    """The error of a line of `length` bytes, too long to be held in memory."""
    message = f"Invalid line: {length:,} bytes long, over the maximum of {rules.max_line_bytes:,} bytes."
    return LineError("invalid_value", message, None, number)


def quoted(text: str) -> str:
    """`text` in quotes for a message: cut when very long, lone surrogates written as escapes."""
    shown = text if len(text) <= MAX_CUSTOM_ID else text[:_MAX_QUOTED] + "…"
    return "'" + shown.encode("utf-8", "backslashreplace").decode("utf-8") + "'"


_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _BadLine(Exception):
    """Why a line is refused; it never leaves this module."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


def _judge(raw: bytes, rules: LineRules) -> RequestLine:
    try:
        line = dict(json_scan.members(raw))
    except ValueError:
        raise _BadLine("invalid_json_line", "This line is not parseable as valid JSON.") from None
    custom_id = _custom_id(line)
    if (method := _text(_required(line, "method"), "method")) != "POST":
        raise _BadLine(
            "invalid_value", f"Invalid value: {quoted(method)}. Supported values are: 'POST'.", "method"
        )
    if _text(_required(line, "url"), "url") != rules.endpoint:
        message = "The URL provided for this request does not match the batch endpoint."
        raise _BadLine("invalid_url", message, "url")
    body_json = _required(line, "body")
    _expect("an object", body_json, "body")
    endpoint = _ENDPOINTS[rules.endpoint]
    body = _members_once(body_json, ("model", "stream"))
    _refuse_streaming(body, endpoint)
    model = _model(body, rules)
    if endpoint.needs is not None and endpoint.needs not in body:
        raise _missing(endpoint.needs, f"body.{endpoint.needs}")
    inputs = _count_inputs(body["input"]) if rules.endpoint == _COUNTS_INPUTS else 0
    return RequestLine(custom_id, model, inputs)


def _custom_id(line: Mapping[str, bytes]) -> str:
    custom_id = _text(_required(line, "custom_id"), "custom_id")
    if not custom_id:
        raise _BadLine(
            "empty_string",
            "Invalid 'custom_id': empty string. "
            "Expected a string with minimum length 1, but got an empty string instead.",
            "custom_id",
        )
    if len(custom_id) > MAX_CUSTOM_ID:
        raise _too_long("custom_id", MAX_CUSTOM_ID, len(custom_id))
    return custom_id


def _refuse_streaming(body: Mapping[str, bytes], endpoint: _Endpoint) -> None:
    stream = body.get("stream", b"null")
    if stream in (b"null", b"false"):
        return
    _expect("a boolean", stream, "body.stream")
    message = f"{endpoint.api}: Streaming is not supported in the Batch API."
    raise _BadLine("streaming_unsupported", message, "body.stream")


def _model(body: Mapping[str, bytes], rules: LineRules) -> str:
    model = _text(body["model"], "body.model") if "model" in body else ""
    if not model:
        raise _BadLine("invalid_request", "Model parameter is required.", "body.model")
    if len(model) > MAX_MODEL:
        raise _too_long("body.model", MAX_MODEL, len(model))
    if not _is_name(model):
        message = "Invalid 'body.model': expected printable characters only."
        raise _BadLine("invalid_value", message, "body.model")
    if rules.known_models is not None and model not in rules.known_models:
        message = f"The provided model {quoted(model)} is not supported by the Batch API."
        raise _BadLine("model_not_found", message, "body.model")
    return model


def _is_name(model: str) -> bool:
    """Whether `model` can be stored and shown everywhere: no control characters, no lone surrogates."""
    return 0 < len(model) <= MAX_MODEL and model.isprintable()


def _members_once(body: bytes, names: tuple[str, ...]) -> dict[str, bytes]:
    """The members of `body`; each of `names` at most once, since servers differ on which one counts."""
    members = json_scan.members(body)
    for name in names:
        if sum(found == name for found, _ in members) > 1:
            message = f"Invalid 'body.{name}': given more than once. Each request must name it at most once."
            raise _BadLine("invalid_request", message, f"body.{name}")
    return dict(members)


def _required(line: Mapping[str, bytes], name: str) -> bytes:
    if name not in line:
        raise _missing(name, name)
    return line[name]


def _text(token: bytes, param: str) -> str:
    _expect("a string", token, param)
    return json_scan.string(token)


def _expect(kind: str, token: bytes, param: str) -> None:
    if (got := _kind(token)) != kind:
        message = f"Invalid type for '{param}': expected {kind}, but got {got} instead."
        raise _BadLine("invalid_type", message, param)


def _kind(token: bytes) -> str:
    match token[:1]:
        case b'"':
            return "a string"
        case b"{":
            return "an object"
        case b"[":
            return "an array"
        case b"t" | b"f":
            return "a boolean"
        case b"n":
            return "null"
        case _:
            return "an integer" if token.removeprefix(b"-").isdigit() else "a decimal number"


def _missing(name: str, param: str) -> _BadLine:
    return _BadLine("missing_required_parameter", f"Missing required parameter: '{name}'.", param)


def _too_long(param: str, most: int, length: int) -> _BadLine:
    message = (
        f"Invalid '{param}': string too long. "
        f"Expected a string with maximum length {most}, but got a string with length {length} instead."
    )
    return _BadLine("string_above_max_length", message, param)


_TOKEN_IDS: Final = re.compile(rb"\[[ \t\n\r]*[-0-9]")


def _count_inputs(value: bytes) -> int:
    """How many texts an embeddings `input` holds; an array of token ids is one text."""
    if value[:1] != b"[" or _TOKEN_IDS.match(value):
        return 1
    try:
        return len(_decode_array(value))
    except (msgspec.DecodeError, RecursionError):
        return len(json_scan.items(value))
