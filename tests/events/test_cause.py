"""What makes two failures the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.inputs.validator import LineError
from events.outcomes.cause import (
    SHAPE_CHARACTERS,
    Cause,
    cause_of_error,
    coarse_cause,
    failure_of,
    scanned_failure,
    shape,
)
from events.outcomes.lines import TIMED_OUT


def answered(status: int, body: str, custom_id: str = '"a"') -> bytes:
    return (
        f'{{"id":"batch_req_1","custom_id":{custom_id},"response":{{"status_code":{status},'
        f'"request_id":"r","body":{body}}},"error":null}}\n'
    ).encode()


def refused(**error: object) -> str:
    return json.dumps({"error": error})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("This model takes 4096 tokens, yours are 5,120.", "This model takes # tokens, yours are #."),
        ("The model 'gpt-9' does not exist", "The model '…' does not exist"),
        ("Request req_8f3a21bc failed after 3.5 s", "Request … failed after # s"),
        ("no such id 123e4567-e89b-12d3-a456-426614174000", "no such id …"),
        ("It's not a user's fault", "It's not a user's fault"),
        ("two\n  lines\tof text", "two lines of text"),
        ("a lone \ud800 surrogate", "a lone ? surrogate"),
    ],
)
def test_the_shape_of_a_message(message: str, expected: str) -> None:
    assert shape(message) == expected


@given(st.text(max_size=3000))
def test_a_shape_is_short_and_can_be_sent(message: str) -> None:
    made = shape(message)
    assert len(made) <= SHAPE_CHARACTERS
    assert made.encode().decode() == made


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_make_no_difference(one: int, other: int) -> None:
    assert shape(f"line {one} of the prompt is too long") == shape(f"line {other} of the prompt is too long")


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (
            refused(message="Slow down", type="requests", code="rate_limit"),
            Cause(429, "rate_limit", "Slow down"),
        ),
        (refused(message="Slow down", type="requests", code=None), Cause(429, "requests", "Slow down")),
        (refused(message="Slow down", code=40001), Cause(429, "40001", "Slow down")),
        ('{"object":"error","message":"m","type":"T","code":7}', Cause(429, "7", "m")),
        ('{"error":"overloaded"}', Cause(429, None, "overloaded")),
        ('{"detail":"Not Found"}', Cause(429, None, "Not Found")),
        ('{"detail":[{"msg":"x"}]}', Cause(429)),
        ("{}", Cause(429)),
        ("[1]", Cause(429)),
        ("1e400", Cause(429)),
        ('{"error":{"message":"\\ud800"}}', Cause(429, None, "?")),
        ('{"error":' + "[" * 5000 + "]" * 5000 + "}", Cause(429)),
    ],
)
def test_the_cause_in_an_answer(body: str, cause: Cause) -> None:
    assert failure_of(answered(429, body)) == (cause, b'"a"')


@given(
    st.recursive(
        st.none()
        | st.integers(-9, 10**20)
        | st.text(max_size=5)
        | st.booleans()
        | st.sampled_from([1.5, -0.25]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["error", "code", "type", "message", "detail"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    )
)
def test_an_odd_answer_is_read_as_a_usual_one_is(body: object) -> None:
    written = answered(400, json.dumps(body))
    assert failure_of(written) == scanned_failure(written)


def test_the_cause_of_a_line_without_an_answer() -> None:
    error = {"code": "request_timeout", "message": "no answer within 600 s"}
    line = json.dumps({"id": "x", "custom_id": "a", "response": None, "error": error}).encode()
    cause = failure_of(line).cause
    assert cause == Cause(None, "request_timeout", "no answer within # s")
    assert cause.coarse == coarse_cause(TIMED_OUT) == Cause(None, "request_timeout")


def test_a_custom_id_stays_as_it_was_written() -> None:
    assert failure_of(answered(500, "{}", '"\\ud83d\\u0041"')).custom_id == b'"\\ud83d\\u0041"'


def test_the_cause_of_a_line_that_was_refused() -> None:
    error = LineError("model_not_found", "The provided model 'x' is not supported.", "body.model", 3)
    assert cause_of_error(error) == Cause(None, "model_not_found", "The provided model '…' is not supported.")


def test_an_id_tells_causes_apart_and_lasts() -> None:
    causes = [Cause(400), Cause(401), Cause(None, "a"), Cause(400, "a"), Cause(400, None, "a")]
    assert len({cause.id for cause in causes}) == len(causes)
    assert Cause(400, "too_long", "m").id == "cause_a30f547804c49de982c31966"
