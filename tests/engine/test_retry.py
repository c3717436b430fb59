"""The retry table read as a specification, and the properties of its waits."""

import email.utils
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.answer import InvalidResponse, Reply
from engine.retry import RetryBudget, RetryPolicy, Verdict, judge, next_delay, next_try, retry_after
from engine.upstream import (
    AnswerTooLarge,
    ConnectFailed,
    ConnectionDropped,
    TimedOut,
    UpstreamFailure,
)
from events.batch import Usage

POLICY = RetryPolicy()


def status(code: int) -> Reply:
    return Reply(code, "req_1", b"{}", Usage())


CONNECT_FAILED = ConnectFailed("connection refused by http://u/v1", "start it")
TIMED_OUT = TimedOut("no whole answer from http://u/v1 within 600 s", "wait longer")
DROPPED = ConnectionDropped("connection dropped by http://u/v1", "see its log")
NOT_JSON = InvalidResponse(200, "text/html", 7)
TOO_LARGE = AnswerTooLarge("http://u/v1", 16 << 20)

#                    tried again, waits as for a limit, limit halves, probe asked, counts alike, error code
TABLE: list[tuple[Reply | InvalidResponse | UpstreamFailure, str, str | None]] = [
    (status(200), "-----", None),
    (status(201), "-----", None),
    (status(301), "----a", None),
    (status(400), "-----", None),
    (status(401), "---pa", None),
    (status(402), "----a", None),
    (status(403), "---pa", None),
    (status(404), "----a", None),
    (status(408), "r-cpa", None),
    (status(409), "r---a", None),
    (status(413), "-----", None),
    (status(422), "-----", None),
    (status(425), "r---a", None),
    (status(429), "rtc-a", None),
    (status(500), "r--pa", None),
    (status(502), "r--pa", None),
    (status(503), "r-cpa", None),
    (status(504), "r-cpa", None),
    (status(529), "r--pa", None),
    (status(777), "----a", None),
    (CONNECT_FAILED, "r--pa", "connection_error"),
    (TIMED_OUT, "r-cpa", "request_timeout"),
    (DROPPED, "r--pa", "connection_error"),
    (NOT_JSON, "r--pa", "invalid_response"),
    (TOO_LARGE, "-----", "response_too_large"),
]


@pytest.mark.parametrize(("result", "signs", "code"), TABLE, ids=lambda value: str(value)[:40])
def test_the_table(result: Reply | InvalidResponse | UpstreamFailure, signs: str, code: str | None) -> None:
    rule = judge(result).rule
    follows = (rule.retry, rule.throttled, rule.congested, rule.probe, rule.alike)
    assert "".join(sign if yes else "-" for sign, yes in zip("rtcpa", follows, strict=True)) == signs
    assert rule.code == code


def test_an_error_says_what_happened_in_the_contracts_words() -> None:
    assert judge(TIMED_OUT).message == "The request timed out."
    assert "connection refused by http://u/v1" in judge(CONNECT_FAILED).message
    assert "status 200 with 7 bytes that are not JSON" in judge(NOT_JSON).message


def when(
    verdict: Verdict, attempts: int, asked: float | None = None, deadline: float = math.inf
) -> float | None:
    return next_try(
        verdict,
        attempts,
        retry_after=asked,
        now=100.0,
        deadline=deadline,
        random=lambda: 0.5,
        policy=POLICY,
    )


def test_the_fifth_failed_try_is_the_outcome() -> None:
    assert when(judge(status(503)), 4) is not None
    assert when(judge(status(503)), 5) is None


def test_a_final_answer_is_the_outcome_at_once() -> None:
    assert when(judge(status(400)), 1) is None


def test_nothing_is_tried_again_past_the_deadline() -> None:
    assert when(judge(status(429)), 1, asked=30.0, deadline=129.0) is None
    assert when(judge(status(429)), 1, asked=30.0, deadline=131.0) is not None


RETRIED = st.sampled_from([judge(result) for result, signs, _ in TABLE if signs.startswith("r")])
CHANCE = st.floats(0, 1, exclude_max=True)


@given(RETRIED, st.integers(1, 10_000), st.none() | st.floats(0, 1e6), CHANCE)
def test_a_wait_is_bounded_and_never_below_what_was_asked(
    verdict: Verdict, attempts: int, asked: float | None, chance: float
) -> None:
    delay = next_delay(verdict, attempts, asked, lambda: chance, POLICY)
    assert delay >= (asked or 0.0)
    assert delay <= max(POLICY.longest_throttled_wait, (asked or 0.0) + POLICY.wait)


@given(st.integers(1, 50), CHANCE)
def test_a_throttled_line_waits_at_least_half_of_a_doubling_floor(attempts: int, chance: float) -> None:
    delay = next_delay(judge(status(429)), attempts, None, lambda: chance, POLICY)
    assert delay >= min(POLICY.longest_throttled_wait, POLICY.throttled_wait * 2 ** (attempts - 1)) / 2


@given(RETRIED, st.integers(1, 5), CHANCE, st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_next_try_lies_between_now_and_the_deadline(
    verdict: Verdict, attempts: int, chance: float, now: float, left: float
) -> None:
    at = next_try(
        verdict,
        attempts,
        retry_after=None,
        now=now,
        deadline=now + left,
        random=lambda: chance,
        policy=POLICY,
    )
    assert at is None or now <= at < now + left


DATE = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": email.utils.formatdate(DATE + 20, usegmt=True)}, 20.0),
        ({"retry-after": email.utils.formatdate(DATE - 20, usegmt=True)}, 0.0),
        (
            {
                "retry-after": email.utils.formatdate(DATE + 3_620, usegmt=True),
                "date": email.utils.formatdate(DATE + 3_600, usegmt=True),
            },
            20.0,
        ),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "inf", "retry-after-ms": "soon"}, None),
        ({"retry-after": "Tuesday"}, None),
    ],
)
def test_what_an_answer_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, DATE) == seconds


@given(st.text(), st.text())
def test_no_header_is_too_odd_to_read(after: str, milliseconds: str) -> None:
    asked = retry_after({"retry-after": after, "retry-after-ms": milliseconds}, DATE)
    assert asked is None or 0 <= asked < math.inf


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 20), st.integers(0, 30)), max_size=40))
def test_retries_stay_a_share_of_the_fresh_sends(steps: list[tuple[float, int, int]]) -> None:
    budget = RetryBudget(0.0, share=0.2, per_second=10.0, burst=5.0)
    now, fresh = 0.0, 0
    went: list[float] = []
    for pause, sends, retries in steps:
        now += pause
        for _ in range(sends):
            budget.sent()
        fresh += sends
        went += [now + budget.take(now) for _ in range(retries)]
    for number, at in enumerate(sorted(went), start=1):
        assert number <= 5.0 + 0.2 * fresh + 10.0 * at + 1e-6


def test_an_empty_budget_delays_each_retry_a_little_more() -> None:
    budget = RetryBudget(0.0, per_second=10.0, burst=1.0)
    assert [round(budget.take(0.0), 6) for _ in range(4)] == [0.0, 0.1, 0.2, 0.3]
    assert budget.take(60.0) == 0.0
