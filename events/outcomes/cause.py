"""Why lines failed, so that those which failed alike can be told together. Pure.

Alike: the same status, the same code, and messages that differ only in numbers, ids and quoted names.
"""

import hashlib
import re
from typing import Final, NamedTuple

import msgspec

from events.inputs.validator import LineError
from events.json_scan import members, string
from events.outcomes.lines import ERROR_CODES

CAUSE_DIGITS: Final = 24
"""Hex digits in the id of a cause."""
SHAPE_CHARACTERS: Final = 200
_READ_CHARACTERS: Final = 1_000
_CAUSE_ID: Final = re.compile(rf"cause_[0-9a-f]{{{CAUSE_DIGITS}}}")
_QUOTED: Final = re.compile(r"""(?<!\w)(['"`])(?:(?!\1).){1,200}?\1(?!\w)""")
_ID: Final = re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{8,}\b")
_NUMBER: Final = re.compile(r"\d+(?:[.,:]\d+)*")


class Cause(msgspec.Struct, frozen=True):
    """`status` is what a line's answer came with; None: it got none, or was never sent. `message` is the
    shape of its message; None: it has none, or it was not read."""

    status: int | None
    code: str | None = None
    message: str | None = None

    @property
    def id(self) -> str:
        """The same for the same cause, in any batch."""
        return "cause_" + hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:CAUSE_DIGITS]

    @property
    def coarse(self) -> "Cause":
        """The cause as far as a line's facts tell it, without its answer."""
        return Cause(self.status, self.code if self.status is None else None)


class Failure(NamedTuple):
    """A line that failed; `custom_id` is the JSON token of its result, which may hold what no text can."""

    cause: Cause
    custom_id: bytes


class _Error(msgspec.Struct, gc=False):
    code: str | int | None = None
    type: str | None = None
    message: str | None = None


class _Body(msgspec.Struct, gc=False):
    error: _Error | str | None = None
    code: str | int | None = None
    type: str | None = None
    message: str | None = None
    detail: str | None = None


class _Response(msgspec.Struct, gc=False):
    status_code: int
    body: _Body


class _Result(msgspec.Struct, gc=False):
    custom_id: msgspec.Raw
    response: _Response | None
    error: _Error | None


_decode: Final = msgspec.json.Decoder(_Result).decode


def failure_of(result: bytes) -> Failure:
    """The failure that a result line tells of. It holds any JSON that an upstream may have sent: what does
    not look as usual is read byte by byte, which takes a hundred times as long."""
    try:
        line = _decode(result)
    except (msgspec.DecodeError, RecursionError):
        return scanned_failure(result)
    token = bytes(line.custom_id)
    if line.response is None:
        error = line.error or _Error()
        return Failure(Cause(None, _short(error.code), _shape(_short(error.message))), token)
    body = line.response.body
    inner = body.error if isinstance(body.error, _Error) else _Error()
    told = inner if inner.code or inner.type or inner.message else body
    code = _short(told.code) or _short(told.type)
    said = body.error if isinstance(body.error, str) else None
    message = _short(told.message) or _short(said) or _short(body.detail)
    return Failure(Cause(line.response.status_code, code, _shape(message)), token)


def scanned_failure(result: bytes) -> Failure:
    """The same, byte by byte."""
    line = dict(members(result))
    error = _object(line["error"])
    if error:
        return Failure(Cause(None, _text(error, "code"), _shape(_text(error, "message"))), line["custom_id"])
    response = _object(line["response"])
    body = _object(response["body"])
    inner = _object(body.get("error", b""))
    told = inner if any(_text(inner, name) for name in ("code", "type", "message")) else body
    code = _text(told, "code") or _text(told, "type")
    message = _text(told, "message") or _text(body, "error") or _text(body, "detail")
    return Failure(Cause(int(response["status_code"]), code, _shape(message)), line["custom_id"])


def is_cause_id(text: str) -> bool:
    """Whether a cause could have this id."""
    return _CAUSE_ID.fullmatch(text) is not None


def coarse_cause(status: int) -> Cause:
    """What the facts of a line that failed tell; `status` is as they have it."""
    return Cause(None, ERROR_CODES[status]) if status in ERROR_CODES else Cause(status)


def cause_of_error(error: LineError) -> Cause:
    """Why a line, or the file, kept a batch from starting."""
    return Cause(None, error.code, shape(error.message))


def shape(message: str) -> str:
    """A message without what differs from line to line: `#` is a number, `…` an id or a name in quotes."""
    text = " ".join(message[:_READ_CHARACTERS].split())
    text = _NUMBER.sub("#", _ID.sub("…", _QUOTED.sub(r"\1…\1", text)))
    text = text.encode("utf-8", "replace").decode()  # lone surrogates cannot be shown
    return text if len(text) <= SHAPE_CHARACTERS else text[: SHAPE_CHARACTERS - 1] + "…"


def _shape(message: str | None) -> str | None:
    return None if message is None else shape(message)


def _short(value: str | int | None) -> str | None:
    return None if value is None else str(value)[:_READ_CHARACTERS] or None


def _object(value: bytes) -> dict[str, bytes]:
    """The members of a JSON object; of anything else none."""
    try:
        return dict(members(value))
    except ValueError:
        return {}


def _text(of: dict[str, bytes], name: str) -> str | None:
    """A string, or a number as a string; None for anything else."""
    token = of.get(name, b"null")
    if token[:1] == b'"':
        return string(token)[:_READ_CHARACTERS].encode("utf-8", "replace").decode() or None
    return token[:32].decode() if token[:1].isdigit() or token[:1] == b"-" else None
