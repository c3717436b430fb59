"""What to hand out next: pure policy over the open batches of one route.

Projects share a route evenly: the next chunk goes to the project with the fewest lines in hand. Within a
project the nearest deadline goes first. A chunk holds `remaining / (2 × workers)` lines, between 1 and
`most`, so that a batch's tail shrinks by itself and no worker ends long after the others.
"""

from collections.abc import Mapping, Sequence

import msgspec

from events.work import OpenBatch


class Cut(msgspec.Struct, frozen=True):
    """Hand out the next `lines` lines of `batch`."""

    batch: OpenBatch
    lines: int


def chunk_lines(remaining: int, workers: int, most: int) -> int:
    """Lines of the next chunk of a batch with `remaining` lines not handed out (at least 1)."""
    return max(1, min(most, remaining // (2 * max(1, workers)), remaining))


def enough(free_lines: int, free_chunks: int, workers: int, most: int) -> bool:
    """Whether a route has as much lying ready as its workers will take before the next look: two chunks a
    worker, or as many small ones as two full ones hold."""
    ready = 2 * max(1, workers)
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
