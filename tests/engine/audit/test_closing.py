"""A batch that ends names the last checkpoint that was signed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.finalizer import Finalizer
from events.batch import BatchCompleted, LastCheckpoint
from events.catalog import decode
from tests.engine.audit.mill import Mill
from tests.engine.recorded import World, request_line, world_on
from tests.postgres import Database


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "files") as world:
        yield world


async def ended(world: World, mill: Mill) -> BatchCompleted:
    """How a batch ends now."""
    batch = await world.batch([request_line(0)])
    await batch.record_lines([0])
    await Finalizer(world.journal, world.store, world.options, mill.records).finalize(batch.id)
    last = (await world.log.stream(batch.id))[-1]
    event = decode(last.type, last.data)
    assert isinstance(event, BatchCompleted)
    return event


async def test_the_closing_event_names_the_last_checkpoint(world: World, mill: Mill) -> None:
    assert (await ended(world, mill)).checkpoint is None
    sealed = await mill.seal()
    named = LastCheckpoint(sealed.last.size, sealed.last.root.hex())
    assert (await ended(world, mill)).checkpoint == named


async def test_a_batch_ends_also_where_the_last_checkpoint_cannot_be_read(world: World, mill: Mill) -> None:
    await mill.append(1)
    await mill.seal()
    await mill.as_superuser("UPDATE signed_checkpoints SET note = 'wiped'")
    assert (await ended(world, mill)).checkpoint is None
