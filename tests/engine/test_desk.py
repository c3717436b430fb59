"""The desk: who needs a hand gets one, also behind batches that cannot be helped now."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from engine.desk import HANDS, Desk
from engine.finalizer import Finalizer
from engine.planner import KnownModels, Planner
from events.batch import LinesCompleted
from events.bus import Bus, Notice
from events.buses.local_bus import LocalBus
from events.event import NewEvent
from events.work import OpenBatch
from tests.engine.recorded import PROJECT, World, request_line, world_on
from tests.postgres import Database


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as opened:
        yield replace(opened, options=msgspec.structs.replace(opened.options, poll=0.05))


async def any_models() -> None:
    return None


def desk_of(world: World, known_models: KnownModels = any_models, bus: Bus | None = None) -> Desk:
    """A desk to which no notice comes, unless by `bus`: it finds by itself what needs a hand."""
    planner = Planner(world.journal, world.store, known_models, world.options)
    finalizer = Finalizer(world.journal, world.store, world.options)
    return Desk(world.board, bus or LocalBus(), planner, finalizer, world.options)


async def on_board(world: World, batch_id: str) -> OpenBatch:
    (batch,) = await world.board.open_batches([batch_id])
    return batch


async def park(world: World, batch_id: str) -> None:
    """What a newer program does to a batch."""
    await world.log.append([NewEvent(uuid4(), batch_id, PROJECT, "BatchSublimated", "{}")])


async def test_batches_that_are_parked_hold_up_no_other(world: World) -> None:
    for _ in range(HANDS + 1):
        await world.created([request_line(0)])
    *parked, other = [batch.batch_id for batch in await world.board.open_batches()]
    for batch_id in parked:
        await park(world, batch_id)
    working = asyncio.create_task(desk_of(world).run())
    try:
        async with asyncio.timeout(60):
            while (await on_board(world, other)).phase == "planning":  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
            for batch_id in parked:  # the reason is written after the hand is withdrawn
                while (await on_board(world, batch_id)).waiting is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    for batch_id in parked:
        board = await on_board(world, batch_id)
        assert board.phase == "planning"
        assert "BatchSublimated" in (board.waiting or "")


async def test_the_input_of_a_parked_batch_is_not_read(world: World) -> None:
    parked = await world.created([request_line(0)])
    await park(world, parked.id)
    await world.store.delete(await world.object_of(parked.input_file_id))
    await desk_of(world).look(parked.id)
    assert "BatchSublimated" in ((await on_board(world, parked.id)).waiting or "")


async def test_a_desk_that_stops_ends_what_is_in_hand_and_takes_nothing_more(world: World) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def known_models() -> None:
        asked.set()
        await answer.wait()

    in_hand = await world.created([request_line(0)])
    desk = desk_of(world, known_models)
    working = asyncio.create_task(desk.run())
    try:
        async with asyncio.timeout(60):
            await asked.wait()
            stopping = asyncio.create_task(desk.stop())
            later = await world.created([request_line(0)])
            await desk.look(later.id)
            assert not stopping.done()
            answer.set()
            await stopping
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    assert (await on_board(world, in_hand.id)).phase == "running"
    assert (await on_board(world, later.id)).phase == "planning"


async def test_a_desk_in_a_hurry_waits_for_nothing(world: World) -> None:
    asked = asyncio.Event()

    async def known_models() -> None:
        asked.set()
        await asyncio.Event().wait()

    await world.created([request_line(0)])
    desk = desk_of(world, known_models)
    working = asyncio.create_task(desk.run())
    try:
        async with asyncio.timeout(60):
            await asked.wait()
            desk.hurry()
            await desk.stop()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_what_is_told_of_other_batches_keeps_it_from_no_look_of_its_own(world: World) -> None:
    """Without a leader nobody tells of a batch that is to be finalized."""
    bus = LocalBus()
    batch = await world.batch([request_line(0)])
    await batch.record_lines([0])
    working = asyncio.create_task(desk_of(world, bus=bus).run())
    try:
        async with asyncio.timeout(60):
            while not (await batch.state()).ended:
                await bus.announce([Notice("batch_other", LinesCompleted.__name__, 0)])
                await asyncio.sleep(0.01)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
