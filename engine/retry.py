"""Whether a line is tried again, and when: one pure table, the waits, and a route's budget of retries.

Time and randomness come from the caller. What the waits are made of:

- Exponential with full jitter for what broke by accident (Brooker, "Exponential Backoff And Jitter", 2015).
- Half jitter with a floor where the upstream said "too many": full jitter can spend every try within seconds
  against a limit that counts per minute (aws-sdk-net issue 4341).
- What the answer asks for (Retry-After, retry-after-ms) is a lower bound, never an upper one.
- A budget per route, so that retries never become most of the load (Finagle's RetryBudget).
"""

import email.utils
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, Literal

import msgspec

from engine.answer import InvalidResponse, Reply
from engine.upstream import (
    AnswerTooLarge,
    ConnectFailed,
    ConnectionDropped,
    TimedOut,
    UpstreamFailure,
)

ErrorCode = Literal["request_timeout", "connection_error", "invalid_response", "response_too_large"]


class Rule(msgspec.Struct, frozen=True):
    """What follows from one way in which a try of a line can end.

    `retry`: worth another try. `throttled`: wait as for a limit. `congested`: the concurrency limit halves.
    `probe`: the route itself is in doubt. `alike`: counts when lines in a row fail alike, unlike a fault of
    the request. `code`: the line's error when no try is left; None where the HTTP answer is the outcome.
    """

    retry: bool = False
    throttled: bool = False
    congested: bool = False
    probe: bool = False
    alike: bool = False
    code: ErrorCode | None = None


SUCCESS: Final = Rule()
THE_REQUESTS_FAULT: Final = Rule()

STATUSES: Final[dict[str, Rule]] = {
    "2xx": SUCCESS,
    "3xx": Rule(alike=True),
    "400": THE_REQUESTS_FAULT,
    "401": Rule(probe=True, alike=True),
    "403": Rule(probe=True, alike=True),
    "408": Rule(retry=True, congested=True, probe=True, alike=True),
    "409": Rule(retry=True, alike=True),
    "413": THE_REQUESTS_FAULT,
    "422": THE_REQUESTS_FAULT,
    "425": Rule(retry=True, alike=True),
    "429": Rule(retry=True, throttled=True, congested=True, alike=True),
    "4xx": Rule(alike=True),
    "503": Rule(retry=True, congested=True, probe=True, alike=True),
    "504": Rule(retry=True, congested=True, probe=True, alike=True),
    "5xx": Rule(retry=True, probe=True, alike=True),
}
"""By status, else by its class."""

FAILURES: Final[dict[type[UpstreamFailure | InvalidResponse], Rule]] = {
    ConnectFailed: Rule(retry=True, probe=True, alike=True, code="connection_error"),
    TimedOut: Rule(retry=True, congested=True, probe=True, alike=True, code="request_timeout"),
    ConnectionDropped: Rule(retry=True, probe=True, alike=True, code="connection_error"),
    InvalidResponse: Rule(retry=True, probe=True, alike=True, code="invalid_response"),
    AnswerTooLarge: Rule(code="response_too_large"),
}
"""Where no usable HTTP answer came."""


class Verdict(msgspec.Struct, frozen=True):
    """The rule for one try, and what to say of it.

    `kind` is the same for lines that fail alike (`"503"`, `"connection refused by http://…"`); `message`
    is the text of the line's error where the rule has a code.
    """

    rule: Rule
    kind: str
    message: str = ""


def judge(result: Reply | InvalidResponse | UpstreamFailure) -> Verdict:
    """Looks the end of one try up in the table."""
    match result:
        case Reply():
            return _verdict_of(result.status)
        case InvalidResponse(status, content_type, size):
            said = f"status {status} with {size} bytes that are not JSON (content type {content_type[:100]})"
            return Verdict(FAILURES[InvalidResponse], "not JSON", f"The upstream answered {said}.")
        case TimedOut():
            return Verdict(FAILURES[TimedOut], "time-out", "The request timed out.")
        case _:
            rule = FAILURES.get(type(result), FAILURES[ConnectionDropped])
            return Verdict(rule, result.reason, f"The upstream gave no usable answer: {result.reason}.")


@lru_cache(maxsize=1000)
def _verdict_of(status: int) -> Verdict:
    rule = STATUSES.get(str(status)) or STATUSES.get(f"{status // 100}xx")
    return Verdict(rule if rule is not None else STATUSES["4xx"], str(status))


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often and how far apart; times in seconds. `attempts` counts the first try too."""

    attempts: int = 5
    wait: float = 0.5
    longest_wait: float = 30.0
    throttled_wait: float = 2.0
    longest_throttled_wait: float = 60.0


def next_try(
    verdict: Verdict,
    attempts: int,
    *,
    retry_after: float | None,
    now: float,
    deadline: float,
    random: Callable[[], float],
    policy: RetryPolicy,
) -> float | None:
    """When the line is tried again, on the clock of `now`; None when this try's end is its outcome.

    `attempts` are those that count so far, this one among them; `random` gives numbers of [0, 1). Nothing
    is tried at or after `deadline`.
    """
    if not verdict.rule.retry or attempts >= policy.attempts:
        return None
    at = now + next_delay(verdict, attempts, retry_after, random, policy)
    return at if at < deadline else None


def next_delay(
    verdict: Verdict,
    attempts: int,
    retry_after: float | None,
    random: Callable[[], float],
    policy: RetryPolicy,
) -> float:
    """Seconds before the next try, at least `retry_after` and spread above it, so that a herd disperses."""
    doublings = min(attempts - 1, 30)
    if verdict.rule.throttled:
        most = min(policy.longest_throttled_wait, policy.throttled_wait * 2.0**doublings)
        wait = most / 2 + random() * most / 2
    else:
        most = min(policy.longest_wait, policy.wait * 2.0**doublings)
        wait = random() * most
    if retry_after is None:
        return wait
    return max(wait, retry_after + random() * policy.wait)


def retry_after(headers: Mapping[str, str], wall_clock: float) -> float | None:
    """Seconds that an answer asks to wait: retry-after-ms, then Retry-After as seconds or as an HTTP date.

    A date is taken against the answer's own Date, so that clocks may differ, else against `wall_clock`
    (Unix seconds). None where nothing, or nothing sensible, is asked.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1_000
    asked = headers.get("retry-after")
    seconds = _number(asked)
    if seconds is not None:
        return seconds
    at = _date(asked)
    if at is None:
        return None
    said_at = _date(headers.get("date"))
    return max(0.0, at - (wall_clock if said_at is None else said_at))


def _number(text: str | None) -> float | None:
    """A finite number of at least 0, written in digits."""
    digits = text.strip() if text is not None else ""
    whole, _, fraction = digits.partition(".")
    plain = whole.isascii() and whole.isdigit() and len(whole) <= 12 and (not fraction or fraction.isdigit())
    return float(digits) if plain and fraction.isascii() else None


def _date(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


class RetryBudget:
    """A route's retries: a share of its fresh sends and at least `per_second`. Empty, it delays; no more.

    A token bucket that may owe: a retry takes its token at once and waits until the debt before it is paid,
    so that many waiting retries come one after the other and not all at the next token. It starts full, with
    `burst` tokens, and keeps no more: what 10 s of `per_second` bring, as in Finagle.
    """

    def __init__(
        self, now: float, *, share: float = 0.2, per_second: float = 10.0, burst: float = 100.0
    ) -> None:
        self._share = share
        self._per_second = per_second
        self._most = burst
        self._tokens = self._most
        self._at = now

    def sent(self) -> None:
        """A line was sent for the first time."""
        self._tokens = min(self._most, self._tokens + self._share)

    def take(self, now: float) -> float:
        """Takes a retry's token; answers after how many seconds it may go (0 when it may at once)."""
        self._tokens = min(self._most, self._tokens + max(0.0, now - self._at) * self._per_second)
        self._at = max(self._at, now)
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._per_second)
