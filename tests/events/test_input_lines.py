"""Request lines are read by their ordinals, and nothing passes that was not validated."""

import random
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from events.inputs.input_lines import WINDOW_BYTES, InputLine, InputLines
from events.inputs.line_index import LINES_PER_BLOCK, BadIndex
from events.inputs.planning import InputChanged
from tests.engine.recorded import RecordedBatch, World, request_line, world_on
from tests.postgres import Database


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


async def inputs_of(batch: RecordedBatch) -> InputLines:
    return InputLines(batch.world.log, batch.world.store, batch.id, (await batch.state()).created)


async def read(inputs: InputLines, ordinals: Iterable[int]) -> list[InputLine]:
    return [line async for line in inputs.lines(ordinals)]


async def test_lines_are_read_by_their_ordinals_across_blocks_of_the_index(world: World) -> None:
    total = LINES_PER_BLOCK + 100
    inputs = await inputs_of(await world.batch([request_line(n) for n in range(total)]))
    ordinals = sorted(random.Random(1).sample(range(total), 500))

    assert await read(inputs, ordinals) == [InputLine(n, n + 1, request_line(n)) for n in ordinals]


async def test_blank_lines_count_in_numbers_but_not_in_ordinals(world: World) -> None:
    inputs = await inputs_of(await world.batch([request_line(0), b"", b"\r", request_line(1) + b"\r"]))

    assert await read(inputs, [0, 1]) == [InputLine(0, 1, request_line(0)), InputLine(1, 4, request_line(1))]


async def test_lines_larger_than_a_window_are_read_alone(world: World) -> None:
    lines = [request_line(0), request_line(1, WINDOW_BYTES + 1), request_line(2), request_line(3, 1_000_000)]
    inputs = await inputs_of(await world.batch(lines))

    assert [line.raw for line in await read(inputs, range(4))] == lines


async def test_lines_come_in_the_order_they_are_asked_for(world: World) -> None:
    inputs = await inputs_of(await world.batch([request_line(n) for n in range(5)]))

    assert [line.line for line in await read(inputs, [4, 0, 3, 3])] == [4, 0, 3, 3]


async def test_a_line_that_has_changed_is_refused_by_file_and_number(world: World) -> None:
    batch = await world.batch([request_line(n) for n in range(3)])
    stored = Path(world.options.spill_folder) / (await world.object_of(batch.input_file_id))
    stored.write_bytes(stored.read_bytes().replace(b"line-1", b"LINE-1"))

    with pytest.raises(InputChanged, match=f"line 2 of input file {batch.input_file_id} "):
        await read(await inputs_of(batch), range(3))


async def test_a_file_that_was_cut_is_refused(world: World) -> None:
    batch = await world.batch([request_line(n) for n in range(3)])
    stored = Path(world.options.spill_folder) / (await world.object_of(batch.input_file_id))
    stored.write_bytes(stored.read_bytes()[:-20])

    with pytest.raises(InputChanged, match="line 3 "):
        await read(await inputs_of(batch), range(3))


async def test_a_file_that_is_gone_from_storage_is_named(world: World) -> None:
    batch = await world.batch([request_line(0)])
    await world.store.delete(await world.object_of(batch.input_file_id))

    with pytest.raises(InputChanged, match=f"input file {batch.input_file_id} .* gone"):
        await read(await inputs_of(batch), [0])


async def test_a_batch_that_has_not_started_has_no_index(world: World) -> None:
    batch = await world.created([request_line(0)])

    with pytest.raises(BadIndex, match="has not started"):
        await read(await inputs_of(batch), [0])
