"""Batches that do not fit in the queue of their project wait in order, and none for ever."""

import math
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from events.limits import Limits, ProjectLimits
from events.room import Room, queue_of, room_of
from events.work import OpenBatch

PROJECT = "search"


def batch(
    number: int,
    lines: int,
    tokens: int = 0,
    *,
    next_line: int = 0,
    phase: str = "running",
) -> OpenBatch:
    """A batch with so many lines; without more, none of them has been handed out."""
    fields = {
        "batch_id": f"batch_{number}",
        "project_id": PROJECT,
        "phase": phase,
        "input_file_id": "file-1",
        "model": "m",
        "total": lines,
        "next_line": next_line,
        "waiting": None,
        "expires_in": 3600.0,
        "stop_in": None,
        "since": 0.0,
        "held": 0,
        "free": 0,
        "open_lines": 0,
        "estimated_tokens": tokens,
        "created_at": float(number),
    }
    return msgspec.convert(fields, OpenBatch)


def after(queued: OpenBatch, lines: int) -> OpenBatch:
    """The batch when `lines` more of its lines were handed out and have an outcome."""
    return msgspec.structs.replace(queued, next_line=queued.next_line + lines)


def test_without_limits_nobody_waits() -> None:
    queue = queue_of(PROJECT, [batch(n, 50_000) for n in range(20)], Limits())
    assert (queue.used, queue.wanted, queue.reasons) == (Room(1_000_000, 0, 20), Room(), {})


def test_who_does_not_fit_is_told_which_limit_and_who_came_later_that_others_go_first() -> None:
    batches = [batch(1, 90, next_line=10), batch(2, 80), batch(3, 1), batch(4, 1)]
    queue = queue_of(PROJECT, batches, Limits(queued_lines=100))
    assert queue.reasons == {
        "batch_2": "waiting for room: with it 160 of 100 queued lines in project search",
        "batch_3": "waiting for room: behind earlier batches of project search",
        "batch_4": "waiting for room: behind earlier batches of project search",
    }
    assert (queue.used, queue.wanted) == (Room(80, 0, 1), Room(82, 0, 3))


def test_each_limit_holds_up() -> None:
    batches = [batch(1, 10, 1_000, next_line=5), batch(2, 10, 1_000)]

    def reason(**limits: int) -> str | None:
        return queue_of(PROJECT, batches, Limits(**limits)).reasons.get("batch_2")

    assert reason(queued_lines=15, queued_tokens=1_500, running_batches=2) is None
    assert reason(queued_lines=14) == "waiting for room: with it 15 of 14 queued lines in project search"
    assert reason(queued_tokens=1_499) == (
        "waiting for room: with it 1,500 of 1,499 queued tokens in project search"
    )
    assert reason(running_batches=1) == ("waiting for room: with it 2 of 1 running batches in project search")


def test_only_batches_that_run_in_their_time_take_room() -> None:
    others = [batch(1, 99, next_line=9, phase=phase) for phase in ("planning", "stopping", "finalizing")]
    done = batch(2, 5, next_line=5)
    late = msgspec.structs.replace(batch(2, 9, next_line=1), expires_in=0.0)
    assert queue_of(PROJECT, [*others, done, late, batch(3, 10)], Limits(queued_lines=10)).reasons == {}


def test_an_empty_queue_takes_what_a_lowered_limit_would_never_let_in() -> None:
    limits = Limits(queued_lines=10)
    assert queue_of(PROJECT, [batch(1, 50)], limits).reasons == {}
    assert set(queue_of(PROJECT, [batch(1, 50), batch(2, 1)], limits).reasons) == {"batch_2"}


def test_tokens_go_as_lines_do_and_never_below_what_is_left() -> None:
    assert [batch(1, 3, 100, next_line=n).tokens_left for n in range(4)] == [100, 67, 34, 0]


def test_a_project_may_have_limits_of_its_own() -> None:
    limits = ProjectLimits(Limits(queued_lines=5), {"search": Limits(queued_lines=7)})
    assert (limits.of("search").queued_lines, limits.of("other").queued_lines) == (7, 5)
    assert (limits.of("search").most_lines(50_000), limits.of("search").most_lines(3)) == (7, 3)
    assert Limits().most_lines(50_000) == 50_000


LIMITS = st.builds(
    Limits,
    queued_lines=st.integers(0, 30),
    queued_tokens=st.integers(0, 300),
    running_batches=st.integers(0, 4),
)
ARRIVALS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 300)), min_size=1, max_size=12)


@given(LIMITS, ARRIVALS, st.randoms(use_true_random=False))
def test_all_begin_in_order_within_the_limits_and_end(
    limits: Limits, arrivals: list[tuple[int, int]], dice: Random
) -> None:
    """Whatever comes when, and in whatever portions lines get done."""
    coming = [batch(n, lines, tokens) for n, (lines, tokens) in enumerate(arrivals)]
    here: dict[str, OpenBatch] = {}
    ended = 0
    while coming or here:
        if coming and (not here or dice.random() < 0.3):
            new = coming.pop(0)
            here[new.batch_id] = new
        queue = queue_of(PROJECT, here.values(), limits)
        may = [one for id, one in here.items() if id not in queue.reasons]
        assert may, "somebody always goes on"
        first_of_those_that_wait = min((here[id].created_at for id in queue.reasons), default=math.inf)
        assert all(one.next_line or one.created_at < first_of_those_that_wait for one in may)
        assert sum(map(room_of, may), Room()) == queue.used
        for most, used in (
            (limits.queued_lines, queue.used.lines),
            (limits.queued_tokens, queue.used.tokens),
            (limits.running_batches, queue.used.batches),
        ):
            assert not most or used <= most or queue.used.batches == 1
        one = dice.choice(may)
        one = after(one, dice.randint(1, one.lines_left))
        here[one.batch_id] = one
        if not one.lines_left:
            del here[one.batch_id]
            ended += 1
    assert ended == len(arrivals)
