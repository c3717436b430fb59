"""What to hand out next: pure policy over the open batches of one route.

Projects share a route evenly: the next chunk goes to the project with the fewest lines in hand. Within a
project the nearest deadline goes first. A chunk holds `remaining / (2 × workers)` lines, between 1 and
`most`, so that a batch's tail shrinks by itself and no worker ends long after the others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from events.bus import Work
from events.work import OpenBatch

READY: Final = 4
"""Chunks a worker that lie ready: with 64 at a time and 1 ms a line it takes one each 4 ms, and a look with
its commits takes 30."""


class Cut(msgspec.Struct, frozen=True):
    """Hand out the next `lines` lines of `batch`."""

    batch: OpenBatch
    lines: int


def chunk_lines(remaining: int, workers: int, most: int) -> int:
    """Lines of the next chunk of a batch with `remaining` lines not handed out (at least 1)."""
    return max(1, min(most, remaining // (2 * max(1, workers)), remaining))


def enough(free_lines: int, free_chunks: int, workers: int, most: int) -> bool:
    """Whether a route has as much lying ready as its workers will take before the next look: `READY` chunks
    a worker, or as many small ones as hold the same."""
    ready = READY * max(1, workers)
    return free_chunks >= ready and (free_lines >= ready * most or free_chunks >= ready * 32)


def next_cut(batches: Sequence[OpenBatch], in_hand: Mapping[str, int], workers: int, most: int) -> Cut | None:
    """The next chunk to cut; None where every line is handed out.

    `in_hand` counts, by project, lines handed out that have no outcome yet.
    """
    waiting = [b for b in batches if b.phase == "running" and b.next_line < b.total]
    if not waiting:
        return None
    batch = min(waiting, key=lambda b: (in_hand.get(b.project_id, 0), b.expires_in, b.batch_id))
    return Cut(batch, chunk_lines(batch.total - batch.next_line, workers, most))


def next_cuts(batches: Sequence[OpenBatch], free: Sequence[Work], workers: int, most: int) -> list[Cut]:
    """What to cut, one after the other, so that enough lies ready; `free` are chunks of these batches that do
    already. Each cut's batch is as the cuts before leave it."""
    open_batches = {b.batch_id: b for b in batches}
    in_hand = Counter[str]()
    for batch in batches:
        in_hand[batch.project_id] += batch.open_lines
    free_lines = sum(_lines_a_chunk(open_batches[work.batch_id]) for work in free)
    cuts: list[Cut] = []
    while not enough(free_lines, len(free) + len(cuts), workers, most):
        cut = next_cut(list(open_batches.values()), in_hand, workers, most)
        if cut is None:
            break
        cuts.append(cut)
        open_batches[cut.batch.batch_id] = cut.batch.after(cut.lines)
        in_hand[cut.batch.project_id] += cut.lines
        free_lines += cut.lines
    return cuts


def _lines_a_chunk(batch: OpenBatch) -> int:
    return batch.open_lines // max(1, batch.held + batch.free)
