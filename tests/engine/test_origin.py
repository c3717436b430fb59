"""What the engine does for a batch says which role did it, in which process, and within whose trace."""

from pathlib import Path

from engine.finalizer import Finalizer
from engine.planner import Planner
from events.origin import PROCESS, Origin
from tests.engine.recorded import World, request_line, world_on
from tests.engine.running import station_on
from tests.postgres import Database

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


async def anything() -> None:
    """No upstream lists its models."""
    return None


async def run(world: World, folder: Path, asked_by: Origin) -> list[tuple[str, Origin]]:
    """A batch from its creation to its end: the type of each event, of its files' too, with its origin."""
    batch = await world.created([request_line(0)], metadata=asked_by.metadata())
    planner = Planner(world.journal, world.store, anything, world.options)
    await planner.plan(await planner.read(batch.id))
    async with station_on(world, folder / "ledger") as station:
        await station.hand_out(batch, 1)
        await station.until_recorded(batch, 1)
    assert await Finalizer(world.journal, world.store, world.options).finalize(batch.id)
    events = await world.log.read(after=0)
    (created,) = [event for event in events if event.type == "BatchCreated"]
    return [(event.type, Origin.of(event.metadata)) for event in events if event.position >= created.position]


async def test_the_trace_of_the_request_for_a_batch_goes_with_all_that_happens_to_it(
    database: Database, tmp_path: Path
) -> None:
    asked_by = Origin("key_1", request="req_1", traceparent=TRACEPARENT)
    async with world_on(database.app_url, tmp_path / "objects") as world:
        happened = await run(world, tmp_path, asked_by)
    assert happened == [
        ("BatchCreated", asked_by),
        *(
            (type_, Origin(role, process=PROCESS, traceparent=TRACEPARENT))
            for type_, role in (
                ("BatchStarted", "planner"),
                ("LinesCompleted", "worker"),
                ("BatchFinalizing", "finalizer"),
                ("FileCreated", "finalizer"),
                ("BatchCompleted", "finalizer"),
            )
        ),
    ]
    assert {origin.trace_id for _, origin in happened} == {TRACE}


async def test_without_a_trace_there_is_none(database: Database, tmp_path: Path) -> None:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        happened = await run(world, tmp_path, Origin("key_1", request="req_1"))
    assert {origin.trace_id for _, origin in happened} == {None}
    assert {origin.process for _, origin in happened} == {None, PROCESS}
