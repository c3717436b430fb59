"""Input files whose lines tell the upstream of the tests what to do; see `tests/upstream.py`."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from tests.upstream import MODEL

PLAIN: Final = b'"temperature":1'


def names(count: int) -> list[str]:
    """The custom_ids of so many lines, in order."""
    return [f"line-{n}" for n in range(count)]


def fresh_names(count: int) -> list[str]:
    """The custom_ids of so many lines that no other batch has."""
    of_this_batch = secrets.token_hex(4)
    return [f"line-{of_this_batch}-{n}" for n in range(count)]


def body(line: str, directive: str = "", more: bytes = PLAIN) -> bytes:
    """The body of a request that has the upstream do as told; `more` is raw JSON beside its messages."""
    told = f"{line} {directive}".strip().encode()
    return b'{"model":"%b",%b,"messages":[{"role":"user","content":"%b"}]}' % (MODEL.encode(), more, told)


def request(line: str, directive: str = "", more: bytes = PLAIN) -> bytes:
    """A request line, without its newline."""
    head = b'{"custom_id":"%b","method":"POST","url":"/v1/chat/completions","body":' % line.encode()
    return head + body(line, directive, more) + b"}"


def batch_of(lines: Sequence[str], directives: Mapping[str, str] | None = None) -> bytes:
    """An input file of some lines; those without a directive succeed at once."""
    told = directives or {}
    return b"".join(request(line, told.get(line, "")) + b"\n" for line in lines)
