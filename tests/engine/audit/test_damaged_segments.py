"""Whatever is done to a segment in storage, or to what the database says of it, is found and named."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import pytest

from engine.audit.progress import Progress, Report
from events.audit.digests import COLUMNS, LogRow
from events.segments.segments import Segments
from events.segments.shelf import SegmentDamaged
from tests.engine.audit.pruned_log import fetch, first_moved, opened, replayed
from tests.engine.audit.sealed_log import SealedLog, auditor, shown_to_nobody, verified

pytestmark = pytest.mark.asyncio(loop_scope="session")


def lose(one: Path, other: Path, dice: Random) -> None:
    one.unlink()


def flip(one: Path, other: Path, dice: Random) -> None:
    content = bytearray(one.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    one.write_bytes(content)


def cut(one: Path, other: Path, dice: Random) -> None:
    content = one.read_bytes()
    one.write_bytes(content[: dice.randrange(len(content))])


def lengthen(one: Path, other: Path, dice: Random) -> None:
    one.write_bytes(one.read_bytes() + b"\0")


def swap(one: Path, other: Path, dice: Random) -> None:
    here, there = one.read_bytes(), other.read_bytes()
    one.write_bytes(there)
    other.write_bytes(here)


def put_another(one: Path, other: Path, dice: Random) -> None:
    one.write_bytes(other.read_bytes())


Act = Callable[[Path, Path, Random], None]
ACTS: Final[dict[Act, str]] = {
    lose: "segment_deleted",
    flip: "segment_changed",
    cut: "segment_changed",
    lengthen: "segment_changed",
    swap: "segment_swapped",
    put_another: "segment_swapped",
}
"""What may be done to one segment, with another at hand, and what it must be called."""


async def done(log: SealedLog, act: Act, dice: Random) -> None:
    """Does it to segments by the dice: it must be found, and named rightly, once."""
    one, other = dice.sample(sorted(log.folder.glob("audit/*/segments/*")), 2)
    act(one, other, dice)
    report = await verified(log.database, log.folder, log.witnessed)
    assert [defect.kind for defect in report.defects] == [ACTS[act]]
    [defect] = report.defects
    named = {(int(first), int(last)) for first, last, _ in (file.name.split("-") for file in (one, other))}
    assert (defect.position, defect.upto) in named
    assert f"the segment {defect.position} to {defect.upto} of the log" in defect.told


@pytest.mark.parametrize("act", ACTS)
async def test_whatever_is_done_to_a_segment_is_one_defect(pruned_copy: SealedLog, act: Act) -> None:
    await done(pruned_copy, act, Random(act.__name__))
    with pytest.raises(SegmentDamaged, match="batchmill audit verify"):
        await replayed(pruned_copy.database, pruned_copy.folder)


@pytest.mark.soak
async def test_a_hundred_times_it_is_found_and_named(pruned_copy: SealedLog) -> None:
    files = {file: file.read_bytes() for file in pruned_copy.folder.glob("audit/*/segments/*")}
    dice = Random(1)
    for _ in range(100):
        await done(pruned_copy, dice.choice([*ACTS]), dice)
        for file, content in files.items():
            file.write_bytes(content)
    assert (await verified(pruned_copy.database, pruned_copy.folder, pruned_copy.witnessed)).clean


async def in_steps(log: SealedLog) -> Report:
    """Verified by another process after each page."""
    kept = b""
    while True:
        async with auditor(log.database, log.folder, log.witnessed, page=30) as verifier:
            progress = msgspec.json.decode(kept, type=Progress) if kept else await verifier.begin()

            async def stop(progress: Progress) -> None:
                nonlocal kept
                kept = msgspec.json.encode(progress)
                raise EOFError

            try:
                return await verifier.run(progress, stop)
            except EOFError:
                continue


@pytest.mark.soak
async def test_a_verification_with_a_damaged_segment_goes_on_from_any_page(pruned_copy: SealedLog) -> None:
    sorted(pruned_copy.folder.glob("audit/*/segments/*"))[1].unlink()
    report = await in_steps(pruned_copy)
    assert [defect.kind for defect in report.defects] == ["segment_deleted"]


async def test_an_event_deleted_beside_a_damaged_segment_is_named_too(pruned_copy: SealedLog) -> None:
    [segment] = await fetch(pruned_copy.database, "SELECT first, name FROM segments ORDER BY first LIMIT 1")
    (pruned_copy.folder / segment["name"]).unlink()
    position = segment["first"] - 1
    await fetch(pruned_copy.database, "DELETE FROM events WHERE position = $1", position)
    report = await verified(pruned_copy.database, pruned_copy.folder, pruned_copy.witnessed)
    assert {(defect.kind, defect.position) for defect in report.defects} == {
        ("segment_deleted", segment["first"]),
        ("event_deleted", position),
    }


async def test_an_index_of_segments_that_was_cut_is_a_deletion_of_events(pruned_copy: SealedLog) -> None:
    [segment] = await fetch(
        pruned_copy.database,
        "DELETE FROM segments WHERE first = (SELECT min(first) FROM segments) RETURNING first",
    )
    report = await verified(pruned_copy.database, pruned_copy.folder, pruned_copy.witnessed)
    assert {defect.kind for defect in report.defects} == {"event_deleted"}
    assert min(defect.position or 0 for defect in report.defects) == segment["first"]


@pytest.mark.parametrize("positions", ["'{}'", "'{[1,9000000000000)}'"])
async def test_positions_that_a_segment_cannot_have_are_a_defect(
    pruned_copy: SealedLog, positions: str
) -> None:
    [segment] = await fetch(
        pruned_copy.database, "SELECT first, positions FROM segments ORDER BY first LIMIT 1"
    )
    await fetch(pruned_copy.database, "DELETE FROM segments WHERE first > $1", segment["first"])
    await fetch(pruned_copy.database, f"UPDATE segments SET positions = {positions}")
    report = await verified(pruned_copy.database, pruned_copy.folder, pruned_copy.witnessed)
    assert not report.clean


async def test_a_stream_whose_segments_nobody_knows_lacks_events(pruned_copy: SealedLog) -> None:
    [row] = await fetch(
        pruned_copy.database,
        "DELETE FROM segment_streams WHERE segment = (SELECT min(first) FROM segments) RETURNING stream_id",
    )
    report = await verified(pruned_copy.database, pruned_copy.folder, pruned_copy.witnessed)
    assert {(defect.kind, defect.stream) for defect in report.defects} == {
        ("event_deleted", row["stream_id"])
    }


async def test_a_pruned_batch_is_verified_alone(pruned_copy: SealedLog) -> None:
    [row, *_] = await fetch(
        pruned_copy.database, "SELECT stream_id, segment FROM segment_streams ORDER BY segment"
    )
    async with auditor(pruned_copy.database, pruned_copy.folder, pruned_copy.witnessed) as verifier:
        report = await verifier.run_batch(row["stream_id"], shown_to_nobody)
        assert report.defects == []
        assert report.events > 10
    [file] = pruned_copy.folder.glob(f"audit/*/segments/{row['segment']}-*")
    file.unlink()
    async with auditor(pruned_copy.database, pruned_copy.folder, pruned_copy.witnessed) as verifier:
        report = await verifier.run_batch(row["stream_id"], shown_to_nobody)
    assert [defect.kind for defect in report.defects] == ["segment_deleted"]


async def test_an_event_that_is_a_row_as_well_counts_once_as_the_row(pruned_copy: SealedLog) -> None:
    async with opened(pruned_copy.database.app_url, pruned_copy.folder) as (connections, store):
        [row] = [
            row
            async for row in Segments(connections, store).of_stream(*await first_moved(pruned_copy.database))
        ]
    columns = ", ".join(f"${number}" for number in range(1, 14))
    await fetch(pruned_copy.database, f"INSERT INTO events VALUES ({columns})", *_columns(row))
    report = await verified(pruned_copy.database, pruned_copy.folder, pruned_copy.witnessed)
    assert report.defects == []
    assert report.events == report.head
    await fetch(pruned_copy.database, "UPDATE events SET data = '{}' WHERE position = $1", row.position)
    report = await verified(pruned_copy.database, pruned_copy.folder, pruned_copy.witnessed)
    assert [(defect.kind, defect.position) for defect in report.defects] == [("event_changed", row.position)]


def _columns(row: LogRow) -> list[object]:
    return [getattr(row, name) for name in COLUMNS.split(", ")]
