"""A check that cannot fail is a defect: every promise is broken here once, by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from events.audit.replay import Difference
from tests.chaos.checker import (
    ON_THE_WAY,
    Kill,
    Story,
    Trouble,
    broken_promises,
    in_flight,
    lost_answers,
    repeats,
    results_of,
)
from tests.upstream import Visit

LINES = ("line-0", "line-1", "line-2")


def success(line: str) -> bytes:
    response = b'{"status_code":200,"request_id":"r","body":{"a":1}}'
    return b'{"id":"batch_req_%032d","custom_id":"%b","response":%b,"error":null}\n' % (
        0,
        line.encode(),
        response,
    )


def failure(line: str, code: str = "connection_error") -> bytes:
    error = b'{"code":"%b","message":"no"}' % code.encode()
    return b'{"id":"batch_req_%032d","custom_id":"%b","response":null,"error":%b}\n' % (
        0,
        line.encode(),
        error,
    )


def poll(completed: int, failed: int, status: str = "in_progress", total: int = 3) -> Mapping[str, Any]:
    counts = {"total": total, "completed": completed, "failed": failed}
    return {"status": status, "request_counts": counts}


def visit(line: str, began: float, outcome: str | None = "200", by: str = "") -> Visit:
    return Visit(line, 1, began, began + 1, outcome, by=by)


GOOD = Story(
    lines=LINES,
    polls=[poll(0, 0), poll(1, 0), poll(2, 1, "completed")],
    output=success("line-0") + success("line-2"),
    errors=failure("line-1"),
    visits=[
        visit("line-0", 1),
        visit("line-1", 2, "dropped"),
        visit("line-1", 4, "gone"),
        visit("line-2", 3),
    ],
    recorded={"line-0": 3.0, "line-1": 6.0, "line-2": 5.0},
)


def test_a_good_story_breaks_no_promise() -> None:
    assert broken_promises(GOOD) == []


@pytest.mark.parametrize(
    ("story", "says"),
    [
        (replace(GOOD, output=success("line-0")), "line-2 has 0 outcomes"),
        (replace(GOOD, errors=failure("line-1") + failure("line-2")), "line-2 has 2 outcomes"),
        (
            replace(GOOD, output=GOOD.output + success("line-9")),
            "line-9 has an outcome and was never asked for",
        ),
        (
            replace(GOOD, output=success("line-2") + success("line-0")),
            "line-0 comes after line-2 in the output",
        ),
        (
            replace(GOOD, output=success("line-0"), errors=failure("line-1") + success("line-2")),
            "line-2 ended with 200 and is in the error file",
        ),
        (
            replace(GOOD, output=GOOD.output + failure("line-1"), errors=b""),
            "line-1 ended with connection_error and is in the output file",
        ),
        (replace(GOOD, polls=[poll(3, 0, "completed")]), "completed is 3, but there are 2"),
        (replace(GOOD, polls=[poll(2, 0, "completed")]), "failed is 0, but there are 1"),
        (replace(GOOD, polls=[poll(2, 1, "completed", total=4)]), "total is 4, but there are 3"),
        (replace(GOOD, errors=failure("line-1", "batch_cancelled")), "failed is 1, but there are 0"),
        (replace(GOOD, polls=[poll(2, 0), poll(1, 0), poll(2, 1, "completed")]), "completed stepped back"),
        (
            replace(GOOD, polls=[poll(2, 1, "finalizing"), poll(2, 1), poll(2, 1, "completed")]),
            "status stepped back from finalizing to in_progress",
        ),
        (
            replace(GOOD, polls=[poll(2, 1, "completed"), poll(2, 1, "cancelled")]),
            "it ended several times: completed, cancelled",
        ),
        (
            replace(GOOD, visits=[*GOOD.visits, visit("line-0", 3.5)], kills=[Kill(3.2)]),
            "line-0 was sent 0.500 s",
        ),
        (
            replace(GOOD, visits=[*GOOD.visits, visit("line-0", 2.5)]),
            "line-0 was sent again after 200, and nobody had died",
        ),
        (replace(GOOD, visits=GOOD.visits[1:]), "line-0 has an outcome and was never sent"),
        (replace(GOOD, again=["line-2"]), "line-2 has another outcome in the log"),
        (
            replace(GOOD, differences=[Difference("batch_1", "state.completed", "2", "1")]),
            "state.completed of batch_1 is 1, and 2 when the log is replayed",
        ),
    ],
)
def test_a_broken_promise_is_named(story: Story, says: str) -> None:
    assert any(says in breach for breach in broken_promises(story)), broken_promises(story)


@pytest.mark.parametrize("content", [b'{"id":"x"}\n', success("line-0")[:-1], b"\n", b"{\n}\n"])
def test_what_is_no_result_line_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="result file"):
        results_of(content)


def test_a_line_that_was_in_flight_at_a_kill_may_run_again() -> None:
    visits: Sequence[Visit] = [*GOOD.visits, visit("line-0", 2.5)]
    story = replace(GOOD, visits=visits, kills=[Kill(2.2)])
    assert broken_promises(story) == []
    assert repeats(story) == 1
    assert in_flight(story, Kill(2.2)) == 2


def test_a_kill_excuses_nobody_but_the_one_who_died() -> None:
    first = visit("line-0", 1, by="worker-0")
    story = replace(GOOD, visits=[first, *GOOD.visits[1:], visit("line-0", 2.5)])
    of_another = replace(story, kills=[Kill(2.2, who="worker-1")])
    assert broken_promises(of_another) == ["line-0 was sent again after 200, and nobody had died"]
    assert in_flight(of_another, of_another.kills[0]) == repeats(of_another) == 0
    its_own = replace(story, kills=[Kill(2.2, who="worker-0")])
    assert broken_promises(its_own) == []
    assert in_flight(its_own, its_own.kills[0]) == repeats(its_own) == 1


def test_what_a_dead_worker_sent_last_arrives_after_its_death() -> None:
    first = visit("line-0", 2.3, by="worker-0")
    kill = Kill(2.2, who="worker-0")
    story = replace(GOOD, visits=[first, *GOOD.visits[1:], visit("line-0", 2.5)], kills=[kill])
    assert broken_promises(story) == []
    assert in_flight(story, kill) == repeats(story) == 1


def test_what_was_frozen_in_the_middle_of_sending_is_sent_on_thawing_and_not_later() -> None:
    frozen = Kill(at=2.0, thawed=4.0)
    on_thawing = replace(GOOD, visits=[*GOOD.visits, visit("line-0", 4.1)], kills=[frozen])
    assert broken_promises(on_thawing) == []
    later = replace(GOOD, visits=[*GOOD.visits, visit("line-0", 5.0)], kills=[frozen])
    assert broken_promises(later) == ["line-0 was sent 2.000 s after its outcome was recorded"]


def by_port(line: str, began: float, port: int) -> Visit:
    return Visit(line, 1, began, began + 1, "200", port=port)


@pytest.mark.parametrize(
    ("trouble", "excused"),
    [
        (Trouble(1.5, 1.5, port=1), True),
        (Trouble(1.5, 1.5, port=2), False),
        (Trouble(0.1, 0.2, port=1), False),
        (Trouble(2.6, 2.6, port=1), False),
        (Trouble(0.5, port=1), True),
    ],
    ids=["cut", "another was cut", "long before", "after it was sent again", "stalled for good"],
)
def test_an_answer_may_get_lost_on_a_connection_that_was_in_trouble_meanwhile(
    trouble: Trouble, excused: bool
) -> None:
    visits = [by_port("line-0", 1, 1), *GOOD.visits[1:], by_port("line-0", 2.5, 3)]
    story = replace(GOOD, visits=visits, troubles=[trouble])
    assert (broken_promises(story) == []) == excused
    assert lost_answers(story) == excused


def test_a_request_that_was_held_up_arrives_late_and_not_much_later() -> None:
    on_its_way = replace(GOOD, visits=[*GOOD.visits, by_port("line-0", 6.1, 1)])
    assert broken_promises(replace(on_its_way, troubles=[Trouble(1, 6, port=1)])) == []
    later = [Trouble(1, 6 - 2 * ON_THE_WAY, port=1)]
    assert len(broken_promises(replace(on_its_way, troubles=later))) == 2
