"""JSON read as bytes, at any depth and of any size of number: for what a parser cannot hold.

Lone surrogates, ``1e400``, integers of 10,000 digits and nesting 100,000 deep are all valid by the
grammar of RFC 8259, yet parsers refuse them or run out of stack. Nothing is converted here: a value
is a span of bytes. The scan is iterative and takes linear time and, beside one copy of the text,
a byte of memory per open bracket.

How: escapes are masked first, so that a string is everything up to the next quote; then a regular
expression swallows up to ``_RUN`` simple values a step and only nested containers come back to Python.
Repeated groups are bounded and never possessive, because ``re`` of Python 3.11.0 to 3.11.4 loses its
place in a possessive group whose last round fails (cpython issue 106052).
"""

import json
import re
from typing import Final

_RUN: Final = 256
_SPACE: Final = rb"[ \t\n\r]*+"
_STRING: Final = rb'"[^"\x00-\x1f]*+"'
_NUMBER: Final = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_EMPTY: Final = rb"\[" + _SPACE + rb"\]|\{" + _SPACE + rb"\}"
_SIMPLE: Final = rb"(?:" + rb"|".join((_STRING, _NUMBER, _EMPTY, rb"true|false|null")) + rb")"
_NAME: Final = _SPACE + _STRING + _SPACE + rb":"


def _values(before: bytes) -> re.Pattern[bytes]:
    """Simple values, each after `before` and followed by a comma, then one more value; group 1 holds the
    brackets when that one is a container with something in it."""
    simple = before + _SPACE + _SIMPLE + _SPACE + b","
    opening = rb"((?:\[" + _SPACE + rb"){1,%d}(?!\])|\{)" % _RUN
    return re.compile(rb"(?:%b){0,%d}%b%b(?:%b|%b)" % (simple, _RUN, before, _SPACE, _SIMPLE, opening))


_ONE_VALUE: Final = re.compile(_SPACE + rb"(?:" + _SIMPLE + rb"|([\[{]))")
_IN_ARRAY: Final = _values(b"")
_IN_OBJECT: Final = _values(_NAME)
_AFTER_VALUE: Final = re.compile(_SPACE + rb"([\]}]*+)" + _SPACE + rb"(,?)")
_OPENING: Final = bytes.maketrans(b"]}", b"[{")

_SKIP: Final = re.compile(_SPACE)
_MEMBER_NAME: Final = re.compile(_SPACE + rb"(" + _STRING + rb")" + _SPACE + rb":" + _SPACE)
_BAD_ESCAPE: Final = re.compile(rb"\\(?![/bfnrt]|u[0-9a-fA-F]{4})")


def is_json(data: bytes) -> bool:
    """Whether `data` is exactly one JSON value (RFC 8259) in valid UTF-8, white space around it or not."""
    try:
        text = _masked(data)
        return _skip_space(text, _value_end(text, 0)) == len(text)
    except ValueError:
        return False


def members(data: bytes) -> list[tuple[str, bytes]]:
    """The members of the JSON object `data` in their order, repeated names included.

    A name is decoded, lone surrogates kept as such; a value is its exact bytes, without the white space
    around it. Raises `ValueError` when `data` is not one JSON object.
    """
    text = _masked(data)
    found: list[tuple[str, bytes]] = []
    for name, start, end in _parts(text, b"{", b"}", _MEMBER_NAME):
        found.append((string(data[name[0] : name[1]]), data[start:end]))
    return found


def items(data: bytes) -> list[bytes]:
    """The exact bytes of each element of the JSON array `data`; raises `ValueError` when it is not one."""
    return [data[start:end] for _, start, end in _parts(_masked(data), b"[", b"]", _SKIP)]


def string(token: bytes) -> str:
    """The text of a JSON string token; lone surrogates stay. Raises `ValueError` when it is not a string."""
    text = json.loads(token.decode("utf-8"))
    if not isinstance(text, str):
        raise ValueError("not a JSON string")
    return text


def one_line(data: bytes) -> bytes:
    """Valid JSON without line breaks: outside of strings they are white space, inside they cannot be.

    Each becomes a space; every other byte, and so the length, stays. Without any, `data` itself returns.
    """
    return data.replace(b"\n", b" ").replace(b"\r", b" ")


def _masked(data: bytes) -> bytes:
    """`data` with escaped quotes and backslashes painted over, every byte in its place.

    A run of backslashes starts outside of any escape, so pairs are found from its left. Where an escape
    stands outside of a string the paint is no token either, so nothing invalid becomes valid.
    """
    data.decode("utf-8")  # raises UnicodeDecodeError, a ValueError
    if b"\\" not in data:
        return data
    text = data.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    if bad := _BAD_ESCAPE.search(text):
        raise ValueError(f"bad escape at byte {bad.start()}")
    return text


def _skip_space(text: bytes, position: int) -> int:
    space = _SKIP.match(text, position)
    assert space is not None  # it matches nothing, too
    return space.end()


def _value_end(text: bytes, position: int) -> int:
    """Where the JSON value that begins at `position` (white space before it skipped) ends."""
    open_brackets = bytearray()
    expected = _ONE_VALUE
    while True:
        step = expected.match(text, position)
        if step is None:
            raise ValueError(f"not JSON after byte {position}")
        position = step.end()
        if step[1]:
            open_brackets += step[1].translate(None, b" \t\n\r")
        else:
            position = _close(text, position, open_brackets)
            if not open_brackets:
                return position
        expected = _IN_ARRAY if open_brackets[-1] == 0x5B else _IN_OBJECT


def _close(text: bytes, position: int, open_brackets: bytearray) -> int:
    """Takes the closing brackets after a value off `open_brackets`, up to the comma before the next value."""
    while open_brackets:
        after = _AFTER_VALUE.match(text, position)
        assert after is not None  # it matches nothing, too
        closing = after[1][: len(open_brackets)].translate(_OPENING)[::-1]
        if not open_brackets.endswith(closing):
            raise ValueError(f"brackets do not match at byte {after.start(1)}")
        if closing:
            del open_brackets[-len(closing) :]
            if not open_brackets:
                return after.start(1) + len(closing)
        if after[2]:
            return after.end()
        if not closing:
            raise ValueError(f"no comma or bracket after byte {position}")
        position = after.end(1)
    return position


def _parts(
    text: bytes, opening: bytes, closing: bytes, before: re.Pattern[bytes]
) -> list[tuple[tuple[int, int], int, int]]:
    """The parts of one container: the span of group 1 of `before`, and where the value starts and ends."""
    position = _skip_space(text, 0)
    if text[position : position + 1] != opening:
        raise ValueError("not a JSON object or array")
    parts: list[tuple[tuple[int, int], int, int]] = []
    position = _skip_space(text, position + 1)
    if text[position : position + 1] != closing:
        while True:
            head = before.match(text, position)
            if head is None:
                raise ValueError(f"no member name after byte {position}")
            end = _value_end(text, head.end())
            parts.append((head.span(1) if head.re.groups else head.span(), head.end(), end))
            position = _skip_space(text, end)
            if text[position : position + 1] != b",":
                break
            position += 1
    if text[position : position + 1] != closing or _skip_space(text, position + 1) != len(text):
        raise ValueError(f"not JSON after byte {position}")
    return parts
