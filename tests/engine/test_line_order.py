"""Result lines come out in line order, whatever the order they were recorded in and however little may be
held."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.line_order import Stretch, in_line_order
from events.batch import LinesCompleted, Usage
from events.catalog import encode
from events.event import Attachment, RecordedEvent
from events.log import Log, RecordedFlush
from events.outcomes.flush_body import ResultsDamaged
from events.outcomes.lines import LineOutcome, pack_block, pack_facts, root_digest
from tests.engine.recorded import outcome, shuffled, stamped

BATCH = "batch_1"


class FlushesOnly:
    """The flushes of one batch, as a log gives them back; counts the bodies it gives."""

    def __init__(self, flushes: Sequence[Sequence[LineOutcome]]) -> None:
        self._events: list[tuple[RecordedEvent, bytes]] = []
        self._digests: dict[UUID, bytes] = {}
        self.bodies: dict[UUID, Attachment] = {}
        self.given = 0
        for version, part in enumerate(flushes, 3):
            part = sorted(part, key=lambda o: o.line)
            attachment = Attachment(pack_block([o.result for o in part]))
            root = root_digest([o.line for o in part], [o.result for o in part], attachment.salt)
            type_, data = encode(LinesCompleted("1", "w", len(part), 0, Usage(), 0, root))
            event = stamped(BATCH, version, type_, data)
            self._events.append((event, pack_facts(part, 0)))
            self.bodies[event.event_id] = attachment
            self._digests[event.event_id] = attachment.digest

    async def facts(
        self, batch_id: str, *, after: int = 0, limit: int = 100
    ) -> list[tuple[int, UUID, bytes]]:
        later = [(e.version, e.event_id, facts) for e, facts in self._events if e.version > after]
        return later[:limit]

    async def flushed(self, batch_id: str, version: int) -> RecordedFlush | None:
        self.given += 1
        for event, facts in self._events:
            if event.version == version:
                id = event.event_id
                return RecordedFlush(id, facts, self._digests[id], self.bodies.get(id))
        return None


Line = tuple[int, int, bytes]


async def ordered(log: FlushesOnly, memory_bytes: int = 1 << 20) -> list[Line]:
    """(line, status, text) of each."""
    lines: list[Line] = []
    async for stretch in in_line_order(cast(Log, log), BATCH, memory_bytes):
        parts = [stretch.part(n, n + 1) for n in range(len(stretch.lines))]
        lines += [(part.lines[0], part.statuses[0], part.text) for part in parts]
        assert b"".join(text for _, _, text in stretch.by_file()) == stretch.text
    return lines


@st.composite
def recordings(draw: st.DrawFn) -> list[list[LineOutcome]]:
    """Any lines, each once, of any size, in any flushes in any order."""
    lines = draw(st.permutations(sorted(draw(st.sets(st.integers(0, 2**31), max_size=40)))))
    flushes: list[list[LineOutcome]] = []
    for line in lines:
        result = outcome(BATCH, line, draw(st.sampled_from([200, 404, -1])), draw(st.integers(0, 300)))
        if not flushes or draw(st.booleans()):
            flushes.append([])
        flushes[-1].append(result)
    return flushes


@given(flushes=recordings(), memory_bytes=st.integers(1, 5_000))
async def test_any_recording_comes_out_in_line_order(
    flushes: list[list[LineOutcome]], memory_bytes: int
) -> None:
    expected = sorted((o.line, o.status, o.result) for part in flushes for o in part)

    assert await ordered(FlushesOnly(flushes), memory_bytes) == expected


async def test_chunks_recorded_in_reverse_are_read_once() -> None:
    chunks = [range(first, first + 10) for first in range(0, 1000, 10)]
    log = FlushesOnly([[outcome(BATCH, line) for line in chunk] for chunk in reversed(chunks)])

    found = await ordered(log, memory_bytes=1)

    assert [line for line, _, _ in found] == list(range(1000))
    assert log.given == len(chunks)


async def test_flushes_that_overlap_are_read_once_while_there_is_room_for_them() -> None:
    flushes = shuffled(256, seed=1)
    log = FlushesOnly([[outcome(BATCH, line) for line in lines] for lines in flushes])

    await ordered(log)

    assert log.given == len(flushes)


async def test_without_room_a_body_is_read_again_rather_than_held() -> None:
    even, odd = range(0, 20, 2), range(1, 20, 2)
    log = FlushesOnly([[outcome(BATCH, line) for line in lines] for lines in (even, odd)])

    found = await ordered(log, memory_bytes=1)

    assert [line for line, _, _ in found] == list(range(20))
    assert log.given == 20


async def test_a_batch_without_results_has_no_lines() -> None:
    assert await ordered(FlushesOnly([])) == []


async def test_a_line_recorded_twice_is_refused() -> None:
    log = FlushesOnly([[outcome(BATCH, 0), outcome(BATCH, 1)], [outcome(BATCH, 1)]])

    with pytest.raises(ResultsDamaged, match="two outcomes of line 1"):
        await ordered(log)


async def test_a_body_that_is_gone_is_refused() -> None:
    log = FlushesOnly([[outcome(BATCH, 0)]])
    log.bodies.clear()

    with pytest.raises(ResultsDamaged, match="are gone from the log"):
        await ordered(log)


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(pack_block([outcome(BATCH, 0, 200, 5).result]), id="other text"),
        pytest.param(pack_block([outcome(BATCH, 0).result, b"more\n"]), id="longer"),
        pytest.param(b"", id="empty"),
        pytest.param(b"no zstd at all", id="no zstd"),
    ],
)
async def test_a_body_that_is_not_what_was_recorded_is_refused(damaged: bytes) -> None:
    log = FlushesOnly([[outcome(BATCH, 0)]])
    ((event_id, kept),) = log.bodies.items()
    log.bodies[event_id] = Attachment(damaged, kept.salt)

    with pytest.raises(ResultsDamaged, match=f"event {event_id} "):
        await ordered(log)


async def test_an_event_that_is_gone_is_refused() -> None:
    log = FlushesOnly([[outcome(BATCH, 0)]])

    async def none(batch_id: str, version: int) -> RecordedFlush | None:
        return None

    log.flushed = none  # type: ignore[method-assign]  # an event that was there a moment ago

    with pytest.raises(ResultsDamaged, match="no event 3 with results any more"):
        await ordered(log)


@given(statuses=st.lists(st.sampled_from([200, 201, 404, -1, 0]), min_size=1))
def test_the_lines_of_a_stretch_part_into_runs_of_one_file(statuses: list[int]) -> None:
    texts = [b"%d\n" % n for n in range(len(statuses))]
    stretch = Stretch(range(len(texts)), statuses, [len(text) for text in texts], b"".join(texts))

    runs = list(stretch.by_file())

    for succeeded in (True, False):
        belong = [text for text, s in zip(texts, statuses, strict=True) if (200 <= s < 300) == succeeded]
        assert b"".join(text for to, _, text in runs if to == succeeded) == b"".join(belong)
        assert sum(count for to, count, _ in runs if to == succeeded) == len(belong)
    assert all(before[0] != after[0] for before, after in pairwise(runs))
