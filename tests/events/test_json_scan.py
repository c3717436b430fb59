"""What the scanner calls JSON is what the standard library calls JSON, and more of it fits."""

import json
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.json_scan import is_json, items, members, one_line, string

DEEP = 25_000


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _parsed(data: bytes) -> Any:
    """By the standard library, held to RFC 8259; raises `ValueError`."""
    return json.loads(data.decode("utf-8"), parse_constant=_refuse, parse_int=str)


def _parses(data: bytes) -> bool:
    try:
        _parsed(data)
    except ValueError:
        return False
    return True


any_text = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(
    ["model", '"', "\\", "\\u0041", "\ud800"]
)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(any_text, inner, max_size=5),
    max_leaves=20,
)


@st.composite
def documents(draw: st.DrawFn, values: st.SearchStrategy[Any] = values) -> bytes:
    text = json.dumps(
        draw(values),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 1, "\t"])),
        separators=draw(st.sampled_from([None, (",", ":"), (" ,\r", "\n: ")])),
    )
    return text.encode("utf-8", "surrogatepass")


def _replace(data: bytes, at: int, what: bytes) -> bytes:
    return data[:at] + what + data[at + 1 :]


def _insert(data: bytes, at: int, what: bytes) -> bytes:
    return data[:at] + what + data[at:]


def _cut(data: bytes, at: int, what: bytes) -> bytes:
    return data[:at]


pieces = st.sampled_from(
    [bytes([code]) for code in b'[]{}",:\\0123456789.-+eEutfn \t\n\r\x00\x1f\x7f\x80\xff/']
)
fragments = st.sampled_from(
    [b"true", b"null", b"\\u12", b'\\"', b"1e400", b"[]", b"{}", b"\xed\xa0\x80", b"NaN"]
)


@given(
    documents(),
    st.lists(st.tuples(st.floats(0, 1), pieces | fragments, st.sampled_from([_replace, _insert, _cut]))),
)
@example(b'"\\\\"', [])
@example(b'{"a"\\":1}', [])
def test_it_agrees_with_the_standard_library_on_documents_and_their_mutations(
    document: bytes, changes: list[tuple[float, bytes, Callable[[bytes, int, bytes], bytes]]]
) -> None:
    for place, what, change in changes[:4]:
        document = change(document, int(place * len(document)), what)
    assert is_json(document) == _parses(document)


@given(st.lists(pieces | fragments, max_size=12).map(b"".join))
def test_it_agrees_with_the_standard_library_on_noise(noise: bytes) -> None:
    assert is_json(noise) == _parses(noise)


@given(documents(st.dictionaries(any_text, values, max_size=6)))
def test_the_members_of_an_object_are_its_members(document: bytes) -> None:
    if not _parses(document):  # a lone surrogate written raw is not UTF-8
        return
    assert {name: _parsed(value) for name, value in members(document)} == _parsed(document)


@given(documents(st.lists(values, max_size=6)))
def test_the_items_of_an_array_are_its_items(document: bytes) -> None:
    if not _parses(document):
        return
    assert [_parsed(item) for item in items(document)] == _parsed(document)


def test_repeated_members_stay_in_order_with_their_exact_bytes() -> None:
    document = b' { "a" : 1.0 , "b":[ 1, {"a":2} ],"\\u0061":"\\u00e9\\/" , "":{ } } '
    assert members(document) == [
        ("a", b"1.0"),
        ("b", b'[ 1, {"a":2} ]'),
        ("a", b'"\\u00e9\\/"'),
        ("", b"{ }"),
    ]


def test_a_name_keeps_its_lone_surrogate() -> None:
    assert members(b'{"\\ud83d":1}') == [("\ud83d", b"1")]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"1", b'{"a":1', b'{"a":1,}', b'{"a":1}x', b"{1:2}", b'{"a" 1}', b"{"]
)
def test_members_of_anything_but_an_object_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        members(data)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1", b"[1,]", b"[,1]", b"[1]]", b"[1 2]"])
def test_items_of_anything_but_an_array_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        items(data)


@pytest.mark.parametrize(
    "data",
    [
        b'"\\ud83d"',
        b"1e400",
        b"-" + b"9" * 10_000,
        b"[" * DEEP + b"]" * DEEP,
        b"[ " * DEEP + b"\n]" * DEEP,
        b'{"a":' * DEEP + b"null" + b"}" * DEEP,
        b'[1,{"a":[],"b":' * DEEP + b'"x"' + b'},{"c":{}}]' * DEEP,
        b"[" + b"[1],{}," * DEEP + b"1]",
        b'"' + b'\\n\\"\\\\' * DEEP + b'"',
        '"\u2028 \U0001f600"'.encode(),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_no_parser_holds_is_still_json(data: bytes) -> None:
    assert is_json(data)
    assert members(b'{"body":' + data + b"}") == [("body", data)]
    assert not is_json(data[:-1] if data[-1:] in b'"]}' else data + b".")
    assert not is_json(data + b"]")


def test_line_breaks_between_tokens_become_spaces() -> None:
    pretty = b'{\r\n "a": "\\n",\n "b":\r[1]\n}'
    assert one_line(pretty) == b'{   "a": "\\n",  "b": [1] }'
    assert _parsed(one_line(pretty)) == _parsed(pretty)


def test_json_on_one_line_is_handed_back_as_it_is() -> None:
    data = b'{"a":"\\n"}'
    assert one_line(data) is data


def test_a_string_token_is_decoded_and_nothing_else_is() -> None:
    assert string(b'"a\\u00e9\\ud83d"') == "a\u00e9\ud83d"
    with pytest.raises(ValueError, match="not a JSON string"):
        string(b"1")
