"""Following one stream of the log."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing

import pytest

from events.batch import BatchCancelRequested, BatchFinalizing
from events.bus import Notice
from events.buses.local_bus import LocalBus
from events.catalog import new_event
from events.journal import Decision, Journal
from events.tail import PAGE, tail
from tests.events.stage import PROJECT, Stage


@pytest.fixture
async def journal(stage: Stage) -> AsyncIterator[Journal]:
    bus = LocalBus()
    yield Journal(stage.log, stage.models, bus)
    await bus.close()


async def test_events_come_in_order_from_a_version_on(stage: Stage, journal: Journal) -> None:
    batch_id = await stage.running_batch(lines=1)
    await stage.running_batch(lines=1)
    async with aclosing(tail(journal, batch_id, after=1)) as pages:
        assert [event.type for event in await anext(pages)] == ["BatchStarted"]
        await journal.record(Decision([new_event(batch_id, PROJECT, BatchCancelRequested())]))
        assert [event.version for event in await anext(pages)] == [3]


async def test_an_event_that_nobody_told_of_is_found(stage: Stage, journal: Journal) -> None:
    batch_id = await stage.running_batch(lines=1)
    async with aclosing(tail(journal, batch_id, after=2, poll=0.01)) as pages:
        assert await anext(pages) == ()
        await stage.log.append([new_event(batch_id, PROJECT, BatchFinalizing("done"))])
        async for page in pages:
            if page:
                assert [event.type for event in page] == ["BatchFinalizing"]
                break


async def test_a_long_history_comes_in_pages(stage: Stage, journal: Journal) -> None:
    batch_id = await stage.running_batch(lines=1)
    asked = [new_event(batch_id, PROJECT, BatchCancelRequested()) for _ in range(2 * PAGE)]
    await stage.log.append(asked)
    async with aclosing(tail(journal, batch_id)) as pages:
        sizes = [len(await anext(pages)) for _ in range(3)]
    assert sizes == [PAGE, PAGE, 2]


class CountingBus(LocalBus):
    """A bus that knows how many have asked not to be woken any more."""

    forgotten = 0

    def on_wake(self, wake: Callable[[Sequence[Notice]], None]) -> Callable[[], None]:
        forget = super().on_wake(wake)

        def forget_and_count() -> None:
            self.forgotten += 1
            forget()

        return forget_and_count


async def test_who_stops_following_is_not_woken_any_more(stage: Stage) -> None:
    bus = CountingBus()
    batch_id = await stage.running_batch(lines=1)
    async with aclosing(tail(Journal(stage.log, stage.models, bus), batch_id)) as pages:
        await anext(pages)
        assert bus.forgotten == 0
    assert bus.forgotten == 1
