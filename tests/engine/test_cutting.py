"""Cutting: what is handed out next, for any set of batches and workers."""

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from engine.cutting import READY, chunk_lines, next_cuts
from events.bus import Work
from events.work import OpenBatch

COUNTS = st.integers(1, 100_000)
WORKERS = st.integers(0, 64)
MOST = st.integers(1, 256)


def batch(
    number: int, project: int = 0, total: int = 100, next_line: int = 0, deadline: float = 60.0
) -> OpenBatch:
    """A running batch of which nothing is in hand."""
    return OpenBatch(
        batch_id=f"batch_{number}",
        project_id=f"proj_{project}",
        phase="running",
        input_file_id="file-1",
        model="m",
        total=total,
        next_line=next_line,
        waiting=None,
        expires_in=deadline,
        stop_in=None,
        since=0.0,
        held=0,
        free=0,
        open_lines=0,
    )


@given(COUNTS, WORKERS, MOST)
def test_a_chunk_holds_a_line_and_never_more_than_there_are(remaining: int, workers: int, most: int) -> None:
    assert 1 <= chunk_lines(remaining, workers, most) <= min(most, remaining)


@given(COUNTS, st.integers(1, 64), MOST)
def test_the_last_chunks_of_a_batch_shrink_to_single_lines(total: int, workers: int, most: int) -> None:
    sizes, left = [], total
    while left:
        sizes.append(chunk_lines(left, workers, most))
        left -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == total
    assert sizes[-1] == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3000)), min_size=1, max_size=6), WORKERS, MOST)
def test_handing_out_all_there_is_gives_each_line_to_one_chunk(
    shapes: list[tuple[int, int]], workers: int, most: int
) -> None:
    board = {b.batch_id: b for b in (batch(n, p, total) for n, (p, total) in enumerate(shapes))}
    given_out: Counter[str] = Counter()
    while cuts := next_cuts(list(board.values()), [], workers, most):
        for cut in cuts:
            on_board = board[cut.batch.batch_id]
            assert cut.batch.next_line == on_board.next_line
            board[on_board.batch_id] = msgspec.structs.replace(
                on_board, next_line=on_board.next_line + cut.lines
            )
            given_out[on_board.batch_id] += cut.lines
    assert given_out == {f"batch_{n}": total for n, (_, total) in enumerate(shapes)}


def test_enough_lies_ready_and_no_more_is_cut() -> None:
    cuts = next_cuts([batch(1, total=100_000)], [], workers=2, most=256)
    assert [cut.lines for cut in cuts] == [256] * (2 * READY)
    ready = [Work("batch_1", n) for n in range(2 * READY)]
    lying = msgspec.structs.replace(batch(1, total=100_000), free=len(ready), open_lines=256 * len(ready))
    assert next_cuts([lying], ready, workers=2, most=256) == []


def test_projects_share_a_route_evenly_however_many_batches_they_have() -> None:
    board = [batch(n, project=0, total=5000) for n in range(5)] + [batch(9, project=1, total=5000)]
    lines: Counter[str] = Counter()
    for cut in next_cuts(board, [], workers=8, most=64):
        lines[cut.batch.project_id] += cut.lines
    assert lines["proj_0"] == lines["proj_1"]


def test_the_nearest_deadline_of_a_project_goes_first() -> None:
    board = [batch(1, deadline=60.0), batch(2, deadline=5.0)]
    assert next_cuts(board, [], workers=1, most=10)[0].batch.batch_id == "batch_2"


def test_a_batch_that_stops_gets_no_more_chunks() -> None:
    stopping = msgspec.structs.replace(batch(1), phase="stopping")
    assert next_cuts([stopping], [], workers=1, most=10) == []
