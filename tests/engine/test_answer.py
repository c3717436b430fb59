"""What is stored of an upstream's answer."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.answer import InvalidResponse, Reply, conclude, error_line, output_line
from engine.upstream import Answer
from events.batch import Usage

COUNTED = b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}'


def reply(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    concluded = conclude(
        Answer(status, headers or {}, body), lambda bits: int.from_bytes(b"\x07" * (bits // 8))
    )
    assert isinstance(concluded, Reply)
    return concluded


def test_a_body_comes_back_as_the_upstream_wrote_it() -> None:
    body = '{"b": 1.0,"a":"\u2028 \U0001f600","a":1e400}'.encode()
    assert reply(body).body == body


def test_a_pretty_printed_body_becomes_one_line() -> None:
    body = reply(b'{\r\n  "a": "x\\ny"\n}\n').body
    assert b"\n" not in body
    assert b"\r" not in body
    assert json.loads(body) == {"a": "x\ny"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"a":"\\ud83d"%b}', id="half of an emoji"),
        pytest.param(b'{"a":1e400%b}', id="a number without end"),
        pytest.param(b'{"a":' + b"[" * 3_000 + b"]" * 3_000 + b"%b}", id="nesting 3,000 deep"),
        pytest.param(b'{"a":' + b"9" * 5_000 + b"%b}", id="an integer of 5,000 digits"),
    ],
)
def test_valid_json_that_a_parser_cannot_hold_is_kept_and_counted(body: bytes) -> None:
    whole = body % b',"usage":{"prompt_tokens":3,"completion_tokens":4}'
    assert reply(whole).body == whole
    assert reply(whole).usage == Usage(3, 4, 0, 0, 7)


@pytest.mark.parametrize(
    "body", [b"<html>", b"", b"{", b'{"a":"\xff"}', b'{"a":NaN}', b"{} {}", b"\xef\xbb\xbf{}"]
)
def test_a_success_that_is_not_json_is_no_success(body: bytes) -> None:
    answer = Answer(200, {"content-type": "text/html"}, body)
    assert conclude(answer, int) == InvalidResponse(200, "text/html", len(body))


def test_an_error_answer_keeps_its_json() -> None:
    body = b'{"error":{"message":"too long","type":"invalid_request_error","param":null,"code":null}}'
    assert reply(body, status=400).body == body
    assert not reply(body, status=400).success


def test_an_error_answer_of_another_kind_gets_the_envelope_with_its_first_thousand_characters() -> None:
    page = "<html>" + "ä" * 2_000
    body = json.loads(reply(page.encode(), status=502).body)
    assert body == {"error": {"message": page[:1_000], "type": "upstream_error", "param": None, "code": None}}


@given(st.binary(max_size=200), st.sampled_from([302, 400, 404, 500, 503]))
def test_whatever_an_error_answer_holds_becomes_valid_json_on_one_line(body: bytes, status: int) -> None:
    kept = reply(body, status=status).body
    assert b"\n" not in kept
    json.loads(kept)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (b'{"prompt_tokens":3,"completion_tokens":4,"total_tokens":9}', Usage(3, 4, 0, 0, 7)),
        (b'{"prompt_tokens":3,"total_tokens":3}', Usage(3, 0, 0, 0, 3)),
        (
            b'{"input_tokens":5,"input_tokens_details":{"cached_tokens":2},'
            b'"output_tokens":6,"output_tokens_details":{"reasoning_tokens":1}}',
            Usage(5, 6, 2, 1, 11),
        ),
        (
            b'{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":2},'
            b'"completion_tokens":6,"completion_tokens_details":{"reasoning_tokens":null}}',
            Usage(5, 6, 2, 0, 11),
        ),
        (b'{"prompt_tokens":3,"completion_tokens":"4"}', Usage(3, 0, 0, 0, 3)),
        (b'{"prompt_tokens":-3,"completion_tokens":4}', Usage(0, 4, 0, 0, 4)),
        (b'{"prompt_tokens":3.5,"completion_tokens":true}', Usage()),
        (b'{"prompt_tokens":99999999999999999999999,"completion_tokens":4}', Usage(0, 4, 0, 0, 4)),
        (b'{"prompt_tokens":3,"completion_tokens":1e400}', Usage(3, 0, 0, 0, 3)),
        (b'{"prompt_tokens":3,"prompt_tokens_details":[]}', Usage(3, 0, 0, 0, 3)),
        (b"null", Usage()),
        (b"[]", Usage()),
        (b'"many"', Usage()),
    ],
)
def test_tokens_are_read_in_both_spellings_and_odd_ones_count_nothing(usage: bytes, tokens: Usage) -> None:
    assert reply(b'{"usage":%b}' % usage).usage == tokens
    # The same through the scan that stands in where a parser gives up.
    assert reply(b'{"half":"\\udc00","usage":%b}' % usage).usage == tokens


def test_an_answer_that_is_no_object_has_no_tokens() -> None:
    assert reply(b"[1]").usage == Usage()


def test_tokens_of_a_failed_request_are_not_counted() -> None:
    assert reply(COUNTED, status=400).usage == Usage()


@pytest.mark.parametrize("given_id", ["", "a\nb", "ä", "x" * 201])
def test_a_request_that_the_upstream_did_not_name_gets_a_name(given_id: str) -> None:
    assert reply(b"{}", headers={"x-request-id": given_id}).request_id == "req_" + "07" * 16


def test_a_request_keeps_the_name_that_the_upstream_gave_it() -> None:
    assert reply(b"{}", headers={"x-request-id": "req-1"}).request_id == "req-1"


def test_an_answer_is_written_as_the_contract_spells_it() -> None:
    assert output_line("batch_req_00", b'"a\\ud800"', 200, 'r"1', b'{"x":1}') == (
        b'{"id":"batch_req_00","custom_id":"a\\ud800","response":{"status_code":200,"request_id":"r\\"1",'
        b'"body":{"x":1}},"error":null}\n'
    )


def test_an_error_is_written_as_the_contract_spells_it() -> None:
    assert error_line("batch_req_00", b'"a"', "request_timeout", "The request timed out.") == (
        b'{"id":"batch_req_00","custom_id":"a","response":null,'
        b'"error":{"code":"request_timeout","message":"The request timed out."}}\n'
    )


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.none())))
def test_every_line_written_is_one_line_of_json(body: dict[str, object]) -> None:
    kept = reply(msgspec.json.encode(body))
    line = output_line("batch_req_00", b'"a"', kept.status, kept.request_id, kept.body)
    assert line.count(b"\n") == 1
    assert json.loads(line)["response"]["body"] == json.loads(json.dumps(body))
