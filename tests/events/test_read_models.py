"""No answer is ever stale: a row, and the tail of its stream folded at read time."""

import asyncio
from typing import cast
from uuid import uuid4

import pytest

from events import read_models
from events.batch import Batch, BatchExpiryReached
from events.catalog import TYPES, new_event
from events.errors import KeyExpired, NotFound, UnknownEvent
from events.event import NewEvent
from events.file import File
from events.key import CreateKey, Key, KeyRestricted, KeyRevoked, describe_secret
from events.key import decide as decide_key
from events.log import Row
from events.read_models import ModelWrite, Page, model_write
from tests.events.stage import PROJECT, Stage, flush_of

WAYS_TO_THE_DATABASE = ("direct", "pgbouncer")


async def row_version(stage: Stage, id: str) -> int:
    async with stage.database.reading() as connection:
        version: int = await connection.fetchval("SELECT version FROM read_models WHERE id = $1", id)
        return version


def ids(page: Page[File]) -> list[str]:
    return [seen.id for seen in page.objects]


async def test_an_object_is_there_as_soon_as_it_was_made_with_no_projector(stage: Stage) -> None:
    batch_id = await stage.new_batch()
    seen = await stage.models.get(Batch, batch_id, PROJECT)
    assert (seen.version, seen.state.status, seen.hidden, seen.parked) == (1, "validating", False, None)
    assert await row_version(stage, batch_id) == 0


@pytest.mark.parametrize("projected", [False, True])
async def test_an_answer_is_the_same_with_and_without_the_projector(stage: Stage, projected: bool) -> None:
    batch_id = await stage.running_batch(lines=4)
    claim = await stage.claim(batch_id, 4)
    for line in range(3):
        await stage.log.flush([flush_of(claim, [line])])
        if projected:
            await stage.project(Batch, batch_id)
    seen = await stage.models.get(Batch, batch_id)
    assert (seen.version, seen.state.completed, seen.state.total) == (5, 3, 4)
    [listed] = (await stage.models.page(Batch, PROJECT)).objects
    assert listed == seen
    assert await row_version(stage, batch_id) == (5 if projected else 0)


async def test_another_project_sees_nothing_of_it(stage: Stage) -> None:
    file_id = await stage.file(project="mine")
    assert await stage.models.find(File, file_id, "yours") is None
    with pytest.raises(NotFound):
        await stage.models.get(File, file_id, "yours")
    with pytest.raises(NotFound):
        await stage.models.page(File, "yours", after=file_id)
    assert ids(await stage.models.page(File, "yours")) == []
    assert ids(await stage.models.page(File, "mine")) == [file_id]


async def test_an_id_of_another_kind_is_not_found(stage: Stage) -> None:
    file_id = await stage.file()
    assert await stage.models.find(Batch, file_id) is None


async def test_a_deleted_file_is_gone_from_get_and_list_at_once_but_not_forgotten(stage: Stage) -> None:
    file_id, other = await stage.file(), await stage.file()
    await stage.delete_file(file_id)
    with pytest.raises(NotFound):
        await stage.models.get(File, file_id)
    assert ids(await stage.models.page(File, PROJECT)) == [other]
    seen = await stage.models.find(File, file_id)
    assert seen is not None
    assert (seen.hidden, seen.state.gone) == (True, True)
    assert await stage.models.named([f"objects/{file_id}", "objects/nobody's"]) == {f"objects/{file_id}"}


async def test_what_an_event_names_is_named_also_while_its_row_is_dropped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_models, "STRETCH", 2)
    file_ids = [await stage.file() for _ in range(5)]
    async with stage.database.writing() as connection:
        await connection.execute("DELETE FROM read_models WHERE id <> $1", file_ids[0])
    keys = {f"objects/{file_id}" for file_id in file_ids}
    assert await stage.models.named([*keys, "objects/nobody's"]) == keys


async def test_pages_go_through_all_objects_once_in_either_order(stage: Stage) -> None:
    made = [await stage.file() for _ in range(7)]
    for newest_first, expected in ((True, made[::-1]), (False, made)):
        found: list[str] = []
        after = None
        while True:
            page = await stage.models.page(File, PROJECT, after=after, limit=3, newest_first=newest_first)
            found += ids(page)
            if not page.has_more:
                break
            after = found[-1]
        assert found == expected


async def test_a_page_goes_on_after_an_object_that_is_gone(stage: Stage) -> None:
    made = [await stage.file() for _ in range(4)]
    await stage.delete_file(made[2])
    assert ids(await stage.models.page(File, PROJECT, after=made[2])) == [made[1], made[0]]


async def test_a_list_can_be_narrowed_to_a_label(stage: Stage) -> None:
    file_id = await stage.file()
    assert ids(await stage.models.page(File, PROJECT, label="batch")) == [file_id]
    assert ids(await stage.models.page(File, PROJECT, label="batch_output")) == []


async def test_an_object_with_a_long_tail_is_written_forward_and_read_whole(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_models, "TAIL", 5)
    batch_id = await stage.running_batch(lines=20)
    claim = await stage.claim(batch_id, 20)
    for line in range(12):
        await stage.log.flush([flush_of(claim, [line])])
    [listed] = (await stage.models.page(Batch, PROJECT)).objects
    assert (listed.version, listed.state.completed) == (14, 12)
    assert await row_version(stage, batch_id) >= 10
    assert (await stage.batch(batch_id)).completed == 12


async def test_a_row_never_goes_back(stage: Stage) -> None:
    batch_id = await stage.new_batch()
    old = model_write(await stage.models.get(Batch, batch_id))
    await stage.cancel(batch_id)
    await stage.project(Batch, batch_id)
    await stage.models.advance([old])
    await stage.models.advance([ModelWrite(batch_id, old.version, old.state, "parked by an older program")])
    seen = await stage.models.get(Batch, batch_id)
    assert (seen.version, seen.state.status, seen.parked) == (2, "cancelling", None)


async def test_rows_and_checkpoint_move_together_and_a_checkpoint_only_forward(stage: Stage) -> None:
    batch_id = await stage.new_batch()
    write = model_write(await stage.models.get(Batch, batch_id))
    assert await stage.models.checkpoint("projector") == 0
    await stage.models.advance([write], follower="projector", upto=5)
    await stage.models.advance([write], follower="projector", upto=3)
    assert await stage.models.checkpoint("projector") == 5
    assert await row_version(stage, batch_id) == 1


async def test_a_stream_that_cannot_be_folded_answers_its_last_state_and_says_so(stage: Stage) -> None:
    batch_id, other = await stage.running_batch(lines=1), await stage.running_batch(lines=1)
    await stage.log.append([NewEvent(uuid4(), batch_id, PROJECT, "BatchTeleported", "{}")])
    await stage.log.append([new_event(batch_id, PROJECT, BatchExpiryReached())])
    seen = await stage.models.get(Batch, batch_id)
    assert (seen.version, seen.state.status, seen.state.expiring) == (2, "in_progress", False)
    assert "BatchTeleported" in (seen.parked or "")
    page = await stage.models.page(Batch, PROJECT)
    assert [found.id for found in page.objects] == [other, batch_id]
    assert [found.parked is None for found in page.objects] == [True, False]


async def test_an_object_that_nobody_here_can_read_is_not_found_and_spoils_no_list(stage: Stage) -> None:
    await stage.log.append(
        [NewEvent(uuid4(), "batch_1", PROJECT, "BatchFound", "{}")], rows=[Row("batch", "batch_1", PROJECT)]
    )
    batch_id = await stage.new_batch()
    assert await stage.models.find(Batch, "batch_1") is None
    assert [seen.id for seen in (await stage.models.page(Batch, PROJECT)).objects] == [batch_id]


async def test_a_row_in_another_programs_shape_is_said_to_whoever_asks_for_it_and_spoils_no_list(
    stage: Stage,
) -> None:
    readable, other = await stage.new_batch(), await stage.new_batch()
    key_id, other_key = "key_1", "key_2"
    for id in (key_id, other_key):
        created = describe_secret(f"sk-bm-{id}")
        row = Row("key", id, PROJECT, label=created.sha256)
        await stage.log.append([new_event(id, PROJECT, created)], rows=[row])
    await stage.models.advance([ModelWrite(id, 9, '{"shape":"new"}', None) for id in (other, other_key)])
    with pytest.raises(UnknownEvent, match=f"the row of {other} is of another program: upgrade"):
        await stage.models.get(Batch, other)
    assert [seen.id for seen in (await stage.models.page(Batch, PROJECT)).objects] == [readable]
    assert [key.id for key in await stage.models.keys()] == [key_id]


async def test_a_key_is_found_by_the_digest_of_its_secret_until_it_is_revoked(stage: Stage) -> None:
    created = describe_secret("sk-bm-secret")
    row = Row("key", "key_1", PROJECT, label=created.sha256)
    await stage.log.append([new_event("key_1", PROJECT, created)], rows=[row])
    found = await stage.models.key_of(created.sha256)
    assert found is not None
    assert (found.id, found.project_id) == ("key_1", PROJECT)
    assert await stage.models.key_of("00" * 32) is None
    await stage.log.append([new_event("key_1", PROJECT, KeyRevoked())])
    assert await stage.models.key_of(created.sha256) is None
    assert (await stage.models.get(Key, "key_1")).state.revoked_at is not None


async def test_a_key_is_expired_by_the_clock_of_the_database(stage: Stage) -> None:
    made = {}
    for id, lasting in (("key_1", 0), ("key_2", 3600)):
        created = made[id] = describe_secret(f"sk-bm-{id}")
        row = Row("key", id, PROJECT, label=created.sha256)
        events = decide_key(None, CreateKey(created, KeyRestricted(("read",), lasting)))
        await stage.log.append([new_event(id, PROJECT, event) for event in events], rows=[row])
    with pytest.raises(KeyExpired, match="key_1"):
        await stage.models.key_of(made["key_1"].sha256)
    assert await stage.models.key_ever_of(made["key_1"].sha256) is not None
    assert not await stage.models.opens("key_1")
    found = await stage.models.key_of(made["key_2"].sha256)
    assert found is not None
    assert found.state.scopes == ("read",)
    assert await stage.models.opens("key_2")
    await stage.project(Key, "key_2")
    assert await stage.models.key_of(made["key_2"].sha256) == found


async def test_an_older_program_makes_no_full_key_of_a_narrow_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = describe_secret("sk-bm-narrow")
    row = Row("key", "key_1", PROJECT, label=created.sha256)
    events = decide_key(None, CreateKey(created, KeyRestricted(("read",))))
    await stage.log.append([new_event("key_1", PROJECT, event) for event in events], rows=[row])
    with monkeypatch.context() as older:
        older.delitem(cast(dict[str, object], TYPES), KeyRestricted.__name__)
        with pytest.raises(UnknownEvent):
            await stage.models.key_of(created.sha256)
        await stage.project(Key, "key_1")
    found = await stage.models.key_of(created.sha256)
    assert found is not None
    assert found.state.scopes == ("read",)


async def test_counts_never_step_back_while_the_projector_and_readers_race(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=40)
    claim = await stage.claim(batch_id, 40)
    finished = asyncio.Event()

    async def look() -> None:
        last = 0
        while not finished.is_set():
            completed = (await stage.batch(batch_id)).completed
            [listed] = (await stage.models.page(Batch, PROJECT)).objects
            assert last <= completed <= listed.state.completed
            last = completed

    async def project() -> None:
        while not finished.is_set():
            await stage.project(Batch, batch_id)

    async with asyncio.TaskGroup() as group:
        for task in (look(), look(), project(), project()):
            group.create_task(task)
        for line in range(40):
            await stage.log.flush([flush_of(claim, [line])])
        finished.set()
    assert (await stage.batch(batch_id)).completed == 40
