"""Decide and record, and following what was recorded."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from uuid import UUID

import asyncpg
import pytest

from events import failpoint
from events.batch import Batch, BatchCancelRequested, BatchExpiryReached, CancelBatch, decide
from events.bus import Notice
from events.buses.local_bus import LocalBus
from events.catalog import new_event
from events.errors import CannotCancel, LeadershipLost, NotFound, UnknownEvent, VersionConflict
from events.event import RecordedEvent
from events.failpoint import FailpointRaised
from events.follower import Follower
from events.journal import TRIES, Decision, Journal
from events.read_models import ModelWrite, Seen, model_write
from tests.events.stage import PROJECT, Stage, flush_of
from tests.postgres import Database


@pytest.fixture
async def journal(stage: Stage) -> AsyncIterator[Journal]:
    bus = LocalBus()
    yield Journal(stage.log, stage.models, bus)
    await bus.close()


@pytest.fixture
def _disarm() -> Iterator[None]:
    yield
    failpoint.arm("")


def cancel(seen: Seen[Batch]) -> Decision:
    """A client's wish to cancel."""
    made = decide(seen.state, CancelBatch())
    return Decision([new_event(seen.id, seen.project_id, event) for event in made])


async def test_a_decision_is_recorded_announced_and_answered(stage: Stage, journal: Journal) -> None:
    heard: list[Notice] = []
    journal.bus.on_wake(heard.extend)
    batch_id = await stage.running_batch(lines=1)
    after = await journal.carry_out(Batch, batch_id, cancel, project_id=PROJECT)
    assert (after.state.status, after.version) == ("cancelling", 3)
    assert heard == [Notice(batch_id, "BatchCancelRequested", 3)]


async def test_a_decision_without_events_records_and_announces_nothing(
    stage: Stage, journal: Journal
) -> None:
    batch_id = await stage.running_batch(lines=1)
    await journal.carry_out(Batch, batch_id, cancel)
    heard: list[Notice] = []
    journal.bus.on_wake(heard.extend)
    assert (await journal.carry_out(Batch, batch_id, cancel)).version == 3
    assert (await stage.log.head(), heard) == (3, [])


async def test_what_cannot_be_decided_is_raised(stage: Stage, journal: Journal) -> None:
    batch_id = await stage.running_batch(lines=1)
    await stage.finalize(batch_id)
    await stage.complete(batch_id, None)
    with pytest.raises(CannotCancel):
        await journal.carry_out(Batch, batch_id, cancel)
    with pytest.raises(NotFound):
        await journal.carry_out(Batch, batch_id, cancel, project_id="other")
    with pytest.raises(NotFound):
        await journal.carry_out(Batch, "batch_nowhere", cancel)


async def test_a_conflict_is_read_and_decided_again(stage: Stage, journal: Journal) -> None:
    batch_id = await stage.running_batch(lines=1)
    versions: list[int] = []

    async def interfere() -> None:
        await stage.log.append([new_event(batch_id, PROJECT, BatchExpiryReached())])

    interfering: list[asyncio.Task[None]] = []

    class Interfered(Journal):
        async def record(self, decision: Decision, leadership: object = None) -> None:
            if not interfering:
                interfering.append(asyncio.create_task(interfere()))
                await interfering[0]
            await super().record(decision)

    def watched(seen: Seen[Batch]) -> Decision:
        versions.append(seen.version)
        return cancel(seen)

    interfered = Interfered(journal.log, journal.models, journal.bus)
    after = await interfered.carry_out(Batch, batch_id, watched)
    assert versions == [2, 3]
    assert after.state.status == "cancelling"
    assert after.state.expiring


async def test_what_was_read_before_is_read_again_only_where_it_has_changed(
    stage: Stage, journal: Journal
) -> None:
    batch_id = await stage.running_batch(lines=1)
    read = await journal.models.get(Batch, batch_id)
    versions: list[int] = []

    def watched(seen: Seen[Batch]) -> Decision:
        versions.append(seen.version)
        return cancel(seen)

    await stage.log.append([new_event(batch_id, PROJECT, BatchExpiryReached())])
    await journal.settle(read, watched)
    assert versions == [read.version, read.version + 1]
    assert (await stage.batch(batch_id)).status == "cancelling"
    await journal.settle(await journal.models.get(Batch, batch_id), watched)
    assert len(versions) == 3


async def test_a_decision_that_always_comes_too_late_is_given_up(stage: Stage, journal: Journal) -> None:
    batch_id = await stage.running_batch(lines=1)
    asked = 0

    def stale(seen: Seen[Batch]) -> Decision:
        nonlocal asked
        asked += 1
        event = new_event(batch_id, PROJECT, BatchCancelRequested())
        return Decision([event], expect={batch_id: 1})

    with pytest.raises(VersionConflict):
        await journal.carry_out(Batch, batch_id, stale)
    assert asked == TRIES


async def test_a_cancel_gets_through_while_outcomes_are_recorded_all_the_time(
    stage: Stage, journal: Journal
) -> None:
    batch_id = await stage.running_batch(lines=100)
    claim = await stage.claim(batch_id, 100)
    asked = 0

    def counted(seen: Seen[Batch]) -> Decision:
        nonlocal asked
        asked += 1
        return cancel(seen)

    async def record() -> None:
        for line in range(100):
            await stage.log.flush([flush_of(claim, [line])])

    recording = asyncio.create_task(record())
    after = await journal.carry_out(Batch, batch_id, counted)
    await recording
    assert (asked, after.state.status) == (1, "cancelling")
    assert (await stage.batch(batch_id)).completed == 100


@pytest.mark.parametrize("point", ["announce.before", "announce.after"])
@pytest.mark.usefixtures("_disarm")
async def test_what_was_not_announced_is_in_the_log_all_the_same(
    stage: Stage, journal: Journal, point: str
) -> None:
    batch_id = await stage.running_batch(lines=1)
    failpoint.arm(f"{point}=raise")
    with pytest.raises(FailpointRaised):
        await journal.carry_out(Batch, batch_id, cancel)
    assert (await journal.carry_out(Batch, batch_id, cancel)).state.status == "cancelling"


class Projecting:
    """A handler that projects what it gets and remembers it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.handled: list[RecordedEvent] = []
        self.reached = asyncio.Event()
        self.until = 0

    async def __call__(self, events: Sequence[RecordedEvent]) -> Sequence[ModelWrite]:
        self.handled += events
        if events[-1].position >= self.until:
            self.reached.set()
        seen = [await self._stage.models.get(Batch, id) for id in {event.stream_id for event in events}]
        return [model_write(one) for one in seen]

    async def reach(self, position: int) -> None:
        self.until = position
        if self.handled and self.handled[-1].position >= position:
            return
        self.reached.clear()
        async with asyncio.timeout(60):
            await self.reached.wait()


async def test_a_follower_handles_every_event_in_order_and_its_successor_goes_on(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=1)
    leader = await stage.lead()
    projecting = Projecting(stage)
    follower = Follower("projector", stage.log, stage.models, projecting)
    assert await follower.step(leader)
    await stage.cancel(batch_id)
    assert await follower.step(leader)
    assert not await follower.step(leader)
    assert [event.position for event in projecting.handled] == [1, 2, 3]
    assert await stage.models.checkpoint("projector") == 3

    await stage.finalize(batch_id)
    successor = Projecting(stage)
    running = asyncio.create_task(Follower("projector", stage.log, stage.models, successor).run(leader))
    await successor.reach(4)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [event.position for event in successor.handled] == [4]


@pytest.mark.parametrize("grown_again", [0, 1, 4])
async def test_a_log_that_went_back_under_a_follower_is_followed_from_its_checkpoint(
    stage: Stage, database: Database, grown_again: int
) -> None:
    """A database is restored under a running program, which finds its leadership in it again."""
    leader = await stage.lead()
    handled: list[UUID] = []

    async def handle(events: Sequence[RecordedEvent]) -> Sequence[ModelWrite]:
        handled.extend(event.event_id for event in events)
        return []

    follower = Follower("relay", stage.log, stage.models, handle)
    await stage.running_batch(lines=1)
    assert await follower.step(leader)
    await stage.running_batch(lines=1)
    assert await follower.step(leader)
    superuser = await asyncpg.connect(database.superuser_url)
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute("DELETE FROM events WHERE position > 2; UPDATE checkpoints SET position = 2")
    await superuser.close()
    for _ in range(grown_again):
        await stage.file()
    while await follower.step(leader):
        pass
    events = await stage.log.read(after=2)
    assert handled[4:] == [event.event_id for event in events]
    assert len(events) == grown_again


async def test_a_woken_follower_does_not_wait_for_its_poll(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=1)
    projecting = Projecting(stage)
    follower = Follower("projector", stage.log, stage.models, projecting, poll=3_600.0)
    running = asyncio.create_task(follower.run(await stage.lead()))
    await projecting.reach(2)
    await stage.cancel(batch_id)
    follower.wake()
    await projecting.reach(3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_follower_whose_wakes_are_lost_polls(stage: Stage) -> None:
    leader = await stage.lead()
    projecting = Projecting(stage)
    follower = Follower("projector", stage.log, stage.models, projecting, poll=0.02)
    running = asyncio.create_task(follower.run(leader))
    await stage.running_batch(lines=1)
    await projecting.reach(2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("point", ["checkpoint.before", "checkpoint.after"])
@pytest.mark.usefixtures("_disarm")
async def test_a_follower_that_broke_handles_again_what_it_had_not_kept(stage: Stage, point: str) -> None:
    await stage.running_batch(lines=1)
    leader = await stage.lead()
    projecting = Projecting(stage)
    follower = Follower("projector", stage.log, stage.models, projecting)
    failpoint.arm(f"{point}=raise")
    with pytest.raises(FailpointRaised):
        await follower.step(leader)
    assert await stage.models.checkpoint("projector") == (0 if point == "checkpoint.before" else 2)
    assert await follower.step(leader)
    assert [event.position for event in projecting.handled] == [1, 2, 1, 2]
    assert await stage.models.checkpoint("projector") == 2


async def test_a_follower_of_a_former_leader_moves_nothing(stage: Stage) -> None:
    await stage.running_batch(lines=1)
    former = await stage.lead()
    await stage.lead()
    follower = Follower("projector", stage.log, stage.models, Projecting(stage))
    with pytest.raises(LeadershipLost):
        await follower.run(former)
    assert await stage.models.checkpoint("projector") == 0


async def test_a_follower_that_meets_what_it_cannot_read_waits_there_and_ends_nothing(stage: Stage) -> None:
    await stage.running_batch(lines=1)
    projecting = Projecting(stage)
    met = 0

    async def handle(events: Sequence[RecordedEvent]) -> Sequence[ModelWrite]:
        nonlocal met
        met += 1
        if met < 3:
            raise UnknownEvent("a newer program wrote it")
        return await projecting(events)

    running = asyncio.create_task(
        Follower("projector", stage.log, stage.models, handle, poll=0.01).run(await stage.lead())
    )
    await projecting.reach(2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert met == 3
    assert [event.position for event in projecting.handled] == [1, 2]
