"""Work that takes a request long: few pieces at once, and fewer of each project."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from api.errors import ApiError
from api.slots import Slots

LATE = "It took too long."


async def hold(slots: Slots, project_id: str, entered: asyncio.Queue[str], leave: asyncio.Event) -> None:
    async with slots.one(project_id, 30, LATE):
        entered.put_nowait(project_id)
        await leave.wait()


async def hold_until_late(
    slots: Slots, project_id: str, patience: float = 0, work: float | None = None
) -> None:
    async with slots.one(project_id, patience, LATE, work=work):
        await asyncio.Event().wait()


async def read_late(slots: Slots, project_id: str) -> None:
    async with slots.one(project_id, 30, LATE):
        raise TimeoutError("a read within")


async def test_a_project_has_one_slot_at_a_time_and_leaves_the_others_to_others() -> None:
    slots, entered, leave = Slots(2), asyncio.Queue[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for project_id in ("a", "a", "a", "b"):
            group.create_task(hold(slots, project_id, entered, leave))
        assert [await entered.get(), await entered.get()] == ["a", "b"]
        assert entered.empty()
        leave.set()
    assert [entered.get_nowait(), entered.get_nowait()] == ["a", "a"]


async def test_who_gets_no_slot_in_time_is_told_to_come_again() -> None:
    slots, entered, leave = Slots(1), asyncio.Queue[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(slots, "a", entered, leave))
        await entered.get()
        for project_id in ("a", "b"):
            with pytest.raises(ApiError, match=r"^It took too long\. Please try again\.$") as refused:
                await hold_until_late(slots, project_id)
            assert refused.value.status == 503
        leave.set()
    await hold(slots, "b", entered, leave)


async def test_what_takes_too_long_is_ended_and_leaves_its_slot() -> None:
    slots = Slots(1)
    with pytest.raises(ApiError, match=LATE):
        await hold_until_late(slots, "a")
    with pytest.raises(ApiError, match=LATE):
        await read_late(slots, "b")
    async with slots.one("a", 30, LATE):
        pass


async def test_work_may_have_a_time_of_its_own() -> None:
    slots, entered, leave = Slots(1), asyncio.Queue[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(slots, "a", entered, leave))
        await entered.get()
        with pytest.raises(ApiError, match=LATE):
            await hold_until_late(slots, "b", work=30)
        leave.set()
    with pytest.raises(ApiError, match=LATE):
        await hold_until_late(slots, "b", patience=30, work=0)


async def test_a_project_may_have_several_slots_for_as_long_as_they_take() -> None:
    slots = Slots(3, each=2)
    async with AsyncExitStack() as held:
        for project_id in ("a", "a", "b"):
            await held.enter_async_context(slots.for_as_long_as_it_takes(project_id, 30, LATE))
        for project_id in ("a", "b"):
            with pytest.raises(ApiError, match=r"^It took too long\. Please try again\.$"):
                await held.enter_async_context(slots.for_as_long_as_it_takes(project_id, 0, LATE))
    with pytest.raises(TimeoutError, match="within"):
        async with slots.for_as_long_as_it_takes("a", 30, LATE):
            raise TimeoutError("within")
