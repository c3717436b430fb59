"""Roles apart: what a process does that only leads."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from engine.engine import LEADERSHIP, Engine, Role
from storage.local_folder import LocalFolder
from storage.store import ObjectInfo
from storage.sweep import OWNER
from tests.engine.recorded import WORKER, World, request_line, world_on
from tests.postgres import Database
from tests.storage.bodies import body_of

LEASE = 0.2


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as opened:
        yield opened


@asynccontextmanager
async def leading(world: World) -> AsyncIterator[None]:
    """A process with the role `lead` alone, and a short lease."""
    options = msgspec.structs.replace(world.options, lease=LEASE, beat=LEASE / 10)
    engine = Engine(world.journal, world.board, world.store, [], options, frozenset({Role.LEAD}))
    running = asyncio.create_task(engine.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_when_every_worker_has_died_the_leader_frees_what_they_held(world: World) -> None:
    batch = await world.batch([request_line(0)])
    async with leading(world), asyncio.timeout(60):
        while WORKER in await world.board.workers():  # noqa: ASYNC110  # it happens in the database
            await asyncio.sleep(LEASE / 10)
    (on_board,) = await world.board.open_batches([batch.id])
    assert (on_board.held, on_board.free) == (0, 1)


class Ahead(datetime):
    """The clock of a machine that is two days ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(days=2)


async def test_what_is_old_enough_to_be_swept_hangs_on_no_clock_of_this_machine(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.engine.datetime", Ahead)
    fresh, old = [await world.store.put(body_of(b"orphan"), prefix="files", project="p") for _ in range(2)]
    os.utime(tmp_path / "objects" / old.key, (0, 0))
    async with leading(world), asyncio.timeout(60):
        while (tmp_path / "objects" / old.key).exists():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(LEASE / 10)
    assert await world.store.read(fresh.key, 0, 6) == b"orphan"


async def test_what_another_database_keeps_in_the_same_place_is_left_alone(
    world: World, tmp_path: Path
) -> None:
    theirs = await world.store.put(body_of(b"named elsewhere"), prefix="files", project="p")
    os.utime(tmp_path / "objects" / theirs.key, (0, 0))
    await world.store.keep(OWNER, b"another\n")

    def reasons(logs: Sequence[EventDict]) -> list[str]:
        return [line["reason"] for line in logs if line["event"] == "orphans not swept"]

    with capture_logs() as logs:
        async with leading(world), asyncio.timeout(60):
            while not (told := reasons(logs)):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(LEASE / 10)
    assert "a folder or prefix of its own" in told[0]
    assert await world.store.read(theirs.key, 0, 5) == b"named"


class CountingFolder(LocalFolder):
    """Counts how often it is listed."""

    lists = 0

    async def list(self, *, older_than: datetime) -> AsyncIterator[ObjectInfo]:
        self.lists += 1
        async for info in super().list(older_than=older_than):
            yield info


async def test_who_leads_again_does_not_look_at_all_of_storage_again(world: World, tmp_path: Path) -> None:
    world.store = store = CountingFolder(tmp_path / "counted")
    terms = set[UUID]()
    async with leading(world), asyncio.timeout(60):
        while len(terms) < 3:
            if (seen := await world.board.observe(LEADERSHIP)) is not None and store.lists:
                terms.add(seen[0])
                await world.board.leave_leadership(LEADERSHIP, None)
            await asyncio.sleep(LEASE / 10)
    await store.close()
    assert store.lists == 1
