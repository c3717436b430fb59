"""A project that asks too often is told to wait, and how long; the others are not."""

import math
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rates import Limit, Rates, duration
from events.batch import BatchCompleted, BatchFinalizing, BatchStarted
from events.limits import Limits, ProjectLimits
from tests.api.client import Client
from tests.api.serving import OPTIONS, Project, Served, serving
from tests.postgres import Database, PostgresServer

TEN_A_SECOND = Limit("requests", "second", 1.0, 10)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_full_bucket_is_there_at_once_and_then_what_flows_in() -> None:
    clock = Clock()
    rates = Rates(clock)
    taken = [rates.take(TEN_A_SECOND, "a") for _ in range(11)]
    assert [standing.left for standing in taken] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    assert [standing.wait for standing in taken] == [0] * 10 + [pytest.approx(0.1)]
    assert taken[9].reset == pytest.approx(1)
    clock.now = 0.1
    assert not rates.take(TEN_A_SECOND, "a").wait
    assert rates.take(TEN_A_SECOND, "a").wait == pytest.approx(0.1)


def test_after_a_pause_a_full_bucket_and_its_refill_pass_within_one_window() -> None:
    """What was saved, and a tenth of it more every tenth of a second."""
    clock, taken = Clock(), 0
    rates = Rates(clock)
    for tenth in range(11):
        clock.now = 100 + tenth / 10 + 1e-9
        while not rates.take(TEN_A_SECOND, "a").wait:
            taken += 1
    assert taken == 2 * TEN_A_SECOND.most


def test_each_project_and_each_limit_has_a_bucket_of_its_own() -> None:
    rates = Rates(Clock())
    other = msgspec.structs.replace(TEN_A_SECOND, what="batches")
    for _ in range(10):
        rates.take(TEN_A_SECOND, "a")
    assert rates.take(TEN_A_SECOND, "a").wait
    assert not rates.take(TEN_A_SECOND, "b").wait
    assert not rates.take(other, "a").wait


@given(st.lists(st.floats(0, 3), max_size=60))
def test_whoever_waits_as_told_is_served_and_nobody_gets_more_than_the_limit(pauses: list[float]) -> None:
    clock = Clock()
    rates = Rates(clock)
    for served, pause in enumerate(pauses, 1):
        clock.now += pause
        standing = rates.take(TEN_A_SECOND, "a")
        if standing.wait:
            clock.now += standing.wait + 1e-9
            standing = rates.take(TEN_A_SECOND, "a")
        assert not standing.wait
        assert 0 <= standing.left < 10
        assert served <= 10 + math.ceil(clock.now * 10)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0ms"),
        (0.0121, "13ms"),
        (1, "1s"),
        (8.64, "8.64s"),
        (59.999, "60s"),
        (60, "1m0s"),
        (3661, "1h1m1s"),
    ],
)
def test_how_a_duration_is_written(seconds: float, written: str) -> None:
    assert duration(seconds) == written


@pytest.fixture(scope="module")
def limited(
    postgres_server: PostgresServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """An API with limits, for which no time passes: nothing comes back within a test."""
    limits = ProjectLimits(Limits(requests_per_minute=5, batches_per_hour=2))
    options = msgspec.structs.replace(OPTIONS, limits=limits)
    with serving(
        postgres_server, migrated_template.name, tmp_path_factory.mktemp("limited"), options
    ) as running:
        running.rates._clock = Clock()
        yield running


def test_every_answer_says_what_is_left(limited: Served) -> None:
    client = limited.project().client
    answers = [client.get("/v1/models"), client.get("/v1/files/file-unknown")]
    assert [answer.headers["x-ratelimit-limit-requests"] for answer in answers] == ["5", "5"]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["4", "3"]
    assert [answer.headers["x-ratelimit-reset-requests"] for answer in answers] == ["12s", "24s"]


def test_too_many_requests_are_told_to_wait(limited: Served) -> None:
    busy, calm = limited.project(), limited.project()
    same = limited.project(busy.id)
    for project in (busy, busy, busy, same, same):
        assert project.client.get("/v1/models").status == 200
    answer = busy.client.get("/v1/models")
    assert answer.status == 429
    error = answer.error
    assert (error["type"], error["param"], error["code"]) == ("requests", None, "rate_limit_exceeded")
    assert error["message"] == (
        f"Rate limit reached for requests in project {busy.id} on requests per min: Limit 5. "
        "Please try again in 12s."
    )
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("12", "12000")
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert calm.client.get("/v1/models").status == 200


def test_too_many_batches_are_told_to_wait(limited: Served) -> None:
    project = limited.project()
    made = [project.client.create("file-none", idempotency_key=key) for key in ("a", "b", "a")]
    assert [answer.status for answer in made] == [200, 200, 200]
    answer = project.client.create("file-none")
    assert answer.status == 429
    assert answer.error["code"] == "rate_limit_exceeded"
    assert "on batches per hour: Limit 2. Please try again in 30m0s." in (answer.error["message"] or "")
    assert answer.headers["retry-after"] == "1800"
    assert len(project.client.get("/v1/batches").json["data"]) == 2


def test_a_retry_is_one_of_the_batches_and_too_many_read_nothing(
    limited: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = limited.project()
    batch_id = project.client.created()
    limited.happen(batch_id, BatchStarted(1, "m"), BatchFinalizing("done"), BatchCompleted(None, None))
    path = f"/v1/batches/{batch_id}/retry"
    assert project.client.ask("POST", path).status == 400
    monkeypatch.setattr("api.batches.retry.lines_to_retry", None)
    answer = project.client.ask("POST", path)
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")


def test_nothing_is_said_where_there_is_no_limit(served: Served, project: Project) -> None:
    assert not [name for name in project.client.get("/v1/models").headers if "ratelimit" in name]


def test_who_has_no_key_takes_nothing_from_others(limited: Served) -> None:
    project = limited.project()
    for _ in range(10):
        assert Client(limited.port, "sk-wrong-key-of-nobody").get("/v1/models").status == 401
    assert project.client.get("/v1/models").headers["x-ratelimit-remaining-requests"] == "4"
