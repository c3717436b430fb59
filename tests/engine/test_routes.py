"""When a route pauses, when it goes on, and which tries count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.answer import Reply
from engine.retry import Verdict, judge
from engine.routes import (
    FORGIVEN_AT_MOST,
    ModelList,
    PausePolicy,
    Probe,
    Route,
    RouteHealth,
    Standing,
    Tries,
    paused_everywhere,
    read_probe,
    route_of,
)
from engine.upstream import ConnectFailed, ModelsAnswer, TimedOut
from events.batch import Usage

URL = "http://u/v1"
REFUSED = ConnectFailed(f"connection refused by {URL}", "start it")
ALIVE = Probe(models=frozenset({"m"}))
DEAD = Probe(dead=f"connection refused by {URL}")


def status(code: int) -> Verdict:
    return judge(Reply(code, "req_1", b"{}", Usage()))


def probe(health: RouteHealth, now: float, answer: Probe) -> None:
    health.probe_started()
    health.probe_ended(now, answer)


def paused() -> RouteHealth:
    health = RouteHealth(URL, PausePolicy())
    health.failed(0.0, "b1", judge(REFUSED))
    probe(health, 0.0, DEAD)
    return health


def test_a_failed_line_asks_for_a_probe_at_once() -> None:
    health = RouteHealth(URL, PausePolicy())
    assert health.probe_at() is None
    doubt = health.failed(1.0, "b1", judge(REFUSED))
    due = health.probe_at()
    assert due is not None
    assert due <= 1.0
    assert health.standing(doubt) is Standing.UNKNOWN
    assert health.reason is None


def test_a_line_that_fails_while_the_probe_is_alive_failed_by_itself() -> None:
    health = RouteHealth(URL, PausePolicy())
    doubt = health.failed(1.0, "b1", judge(REFUSED))
    probe(health, 1.1, ALIVE)
    assert health.standing(doubt) is Standing.ALIVE
    assert health.reason is None
    assert health.probe_at() is None


def test_a_route_whose_probe_fails_too_pauses_and_says_why() -> None:
    health = RouteHealth(URL, PausePolicy())
    doubt = health.failed(1.0, "b1", judge(REFUSED))
    probe(health, 1.1, DEAD)
    assert health.standing(doubt) is Standing.DOWN
    assert health.reason == "route paused: connection refused by http://u/v1"


def test_a_paused_route_is_probed_after_5_seconds_doubling_to_60() -> None:
    health, now, waits = paused(), 0.0, []
    for _ in range(6):
        due = health.probe_at()
        assert due is not None
        waits.append(due - now)
        now = due
        probe(health, now, DEAD)
    assert waits == [5, 10, 20, 40, 60, 60]


def test_a_route_goes_on_once_a_probe_is_alive() -> None:
    health = paused()
    probe(health, 5.0, ALIVE)
    assert health.reason is None
    assert health.probe_at() is None


def test_a_success_after_a_pause_makes_the_next_pause_short_again() -> None:
    health = paused()
    probe(health, 5.0, DEAD)
    probe(health, 15.0, ALIVE)
    health.succeeded()
    health.failed(20.0, "b1", judge(REFUSED))
    probe(health, 20.0, DEAD)
    assert health.probe_at() == 25.0


def test_a_pause_right_after_a_pause_goes_on_doubling() -> None:
    health = paused()
    probe(health, 5.0, ALIVE)
    health.failed(5.1, "b1", judge(REFUSED))
    probe(health, 5.1, DEAD)
    assert health.probe_at() == pytest.approx(15.1)


def test_a_probe_does_not_answer_for_what_failed_after_it_started() -> None:
    health = RouteHealth(URL, PausePolicy())
    health.failed(1.0, "b1", judge(REFUSED))
    health.probe_started()
    later = health.failed(1.05, "b1", judge(REFUSED))
    health.probe_ended(1.1, ALIVE)
    assert health.standing(later) is Standing.UNKNOWN
    due = health.probe_at()
    assert due is not None
    assert due == pytest.approx(1.35)
    probe(health, 1.4, DEAD)
    assert health.standing(later) is Standing.DOWN


def test_whatever_fails_of_a_paused_route_is_not_the_lines_fault() -> None:
    health = paused()
    assert health.standing(health.failed(1.0, "b1", status(502))) is Standing.DOWN
    assert health.standing(health.failed(1.0, "b1", status(400))) is Standing.ALIVE


@pytest.mark.parametrize("code", [401, 403, 500, 502, 503])
def test_these_statuses_of_a_line_ask_for_a_probe(code: int) -> None:
    health = RouteHealth(URL, PausePolicy())
    health.failed(1.0, "b1", status(code))
    assert health.probe_at() is not None


@pytest.mark.parametrize("code", [400, 404, 409, 413, 422, 429])
def test_these_statuses_of_a_line_do_not(code: int) -> None:
    health = RouteHealth(URL, PausePolicy())
    assert health.standing(health.failed(1.0, "b1", status(code))) is Standing.ALIVE
    assert health.probe_at() is None


def fail_alike(health: RouteHealth, lines: int, batches: int, code: int = 404) -> Standing:
    standing = Standing.UNKNOWN
    for number in range(lines):
        standing = health.standing(health.failed(1.0, f"b{number % batches}", status(code)))
    return standing


def test_twenty_lines_of_two_batches_that_fail_alike_pause_a_route_whose_probe_is_alive() -> None:
    health = RouteHealth(URL, PausePolicy())
    assert fail_alike(health, 19, batches=2) is Standing.ALIVE
    assert fail_alike(health, 1, batches=1) is Standing.DOWN
    assert health.reason == "route paused: 20 lines in a row failed alike: status 404 from http://u/v1"
    assert health.probe_at() == 6.0
    probe(health, 6.0, ALIVE)
    assert health.reason is None


def test_lines_of_one_batch_never_pause_a_route_whose_probe_is_alive() -> None:
    health = RouteHealth(URL, PausePolicy())
    fail_alike(health, 1_000, batches=1)
    assert health.reason is None


def test_faults_of_the_requests_themselves_never_pause_a_route() -> None:
    health = RouteHealth(URL, PausePolicy())
    for code in (400, 413, 422):
        fail_alike(health, 100, batches=5, code=code)
    assert health.reason is None


def test_a_success_or_another_failure_ends_a_row() -> None:
    health = RouteHealth(URL, PausePolicy())
    fail_alike(health, 19, batches=2)
    health.succeeded()
    fail_alike(health, 19, batches=2)
    fail_alike(health, 1, batches=1, code=409)
    fail_alike(health, 19, batches=2)
    assert health.reason is None


def test_a_probe_that_was_under_way_does_not_end_a_pause_for_failing_alike() -> None:
    health = RouteHealth(URL, PausePolicy())
    health.failed(0.5, "b1", judge(REFUSED))
    health.probe_started()
    fail_alike(health, 20, batches=2)
    health.probe_ended(1.1, ALIVE)
    assert health.reason is not None
    assert health.probe_at() == 6.0


def test_a_line_is_forgiven_a_route_that_was_down_but_not_for_ever() -> None:
    tries = Tries()
    assert [tries.counts(Standing.DOWN) for _ in range(FORGIVEN_AT_MOST + 2)] == [
        False
    ] * FORGIVEN_AT_MOST + [
        True,
        True,
    ]
    assert tries.counts(Standing.ALIVE)
    assert tries == Tries(counted=3, forgiven=FORGIVEN_AT_MOST)


@pytest.mark.parametrize("code", [401, 403, 500, 503])
def test_a_probe_that_is_refused_or_breaks_is_dead(code: int) -> None:
    dead = read_probe(ModelsAnswer(code, None), URL).dead
    assert dead is not None
    assert f"status {code}" in dead


@pytest.mark.parametrize("code", [200, 204, 301, 400, 404, 405, 429])
def test_any_other_answer_to_a_probe_is_alive(code: int) -> None:
    assert read_probe(ModelsAnswer(code, None), URL) == Probe()


@pytest.mark.parametrize("failure", [REFUSED, TimedOut("no whole answer", "wait")])
def test_no_answer_to_a_probe_is_dead(failure: ConnectFailed | TimedOut) -> None:
    assert read_probe(failure, URL).dead == failure.reason


STEPS = st.one_of(
    st.tuples(st.just("fail"), st.sampled_from([400, 404, 429, 503, 401])),
    st.tuples(st.just("succeed"), st.just(0)),
    st.tuples(st.just("probe"), st.sampled_from([0, 1])),
)


@given(st.lists(STEPS, max_size=200), st.integers(1, 3))
def test_every_doubt_is_answered_by_the_probes_it_asks_for(
    steps: list[tuple[str, int]], batches: int
) -> None:
    health = RouteHealth(URL, PausePolicy())
    now, doubts = 0.0, []
    for number, (step, what) in enumerate(steps):
        now += 0.1
        if step == "fail":
            doubts.append(health.failed(now, f"b{number % batches}", status(what)))
        elif step == "succeed":
            health.succeeded()
        elif health.probe_at() is not None:
            probe(health, now, DEAD if what else ALIVE)
    for _ in range(3):
        if (due := health.probe_at()) is not None:
            now = max(now, due)
            probe(health, now, ALIVE)
    assert health.reason is None
    assert all(health.standing(doubt) is not Standing.UNKNOWN for doubt in doubts)


def test_a_list_of_models_is_believed_for_a_minute() -> None:
    models = ModelList()
    assert models.known(0.0) is None
    models.read(0.0, frozenset({"a", "b:latest"}))
    assert models.known(60.0) == frozenset({"a", "b:latest", "b"})
    assert models.known(60.1) is None


@pytest.mark.parametrize("listed", [frozenset[str](), frozenset({"a", "openai/*"})])
def test_an_empty_list_or_one_with_patterns_names_no_models(listed: frozenset[str]) -> None:
    models = ModelList()
    models.read(0.0, frozenset({"a"}))
    models.read(1.0, listed)
    assert models.known(1.0) is None


def test_an_answer_without_a_list_leaves_the_last_one() -> None:
    models = ModelList()
    models.read(0.0, frozenset({"a"}))
    models.read(1.0, None)
    assert models.known(1.0) == frozenset({"a"})


def test_a_model_goes_to_the_route_that_names_it_else_to_the_one_that_takes_any() -> None:
    named = Route("small", "http://s/v1", frozenset({"s"}))
    default = Route("default", URL)
    assert route_of([default, named], "s") is named
    assert route_of([default, named], "x") is default
    assert route_of([named], "x") is None


def test_a_route_is_paused_everywhere_only_when_no_worker_has_it_open() -> None:
    assert paused_everywhere(["refused", "timed out"]) == "refused"
    assert paused_everywhere(["refused", None]) is None
    assert paused_everywhere([]) is None
