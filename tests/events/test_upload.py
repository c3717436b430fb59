"""What may happen to an upload: parts in any order and any number of times, then one end."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.catalog import new_event
from events.errors import UploadRefused
from events.log import Row
from events.upload import (
    MOST_PARTS,
    SENT_AGAIN,
    AddPart,
    CancelUpload,
    CompleteUpload,
    CreateUpload,
    ExpireUpload,
    Part,
    Upload,
    UploadCancelled,
    UploadCommand,
    UploadCompleted,
    UploadCreated,
    UploadPartAdded,
    chosen_parts,
    decide,
    evolve,
    fresh_part_id,
    fresh_upload_id,
)
from tests.events.stage import PROJECT, Stage, open_stage
from tests.postgres import Database

CREATED = UploadCreated("in.jsonl", "batch", "application/jsonl", 10)


def added(name: str, size: int) -> UploadPartAdded:
    return UploadPartAdded(f"part_{name}", size, "00" * 32, f"uploads/{name}")


def upload_of(*sizes: int, size: int = 10) -> Upload:
    """A pending upload with parts `part_0`, `part_1` and so on of these sizes."""
    created = UploadCreated("in.jsonl", "batch", "application/jsonl", size)
    upload = evolve(None, created, 100)
    for n, part in enumerate(sizes):
        upload = evolve(upload, added(str(n), part), 101 + n)
    return upload


PARTS = st.sampled_from([("a", 6), ("b", 4), ("c", 10), ("d", 3)])
NAMED = st.lists(st.sampled_from(["part_a", "part_b", "part_c", "part_d", "part_x"]), max_size=4)
COMMANDS = st.one_of(
    st.builds(lambda: CreateUpload(CREATED)),
    PARTS.map(lambda part: AddPart(added(*part))),
    NAMED.map(lambda ids: CompleteUpload("file-1", tuple(ids))),
    st.builds(CancelUpload),
    st.builds(ExpireUpload),
)


@given(st.lists(COMMANDS, max_size=20))
def test_an_upload_ends_once_and_keeps_its_end(commands: list[UploadCommand]) -> None:
    upload = evolve(None, CREATED, 0)
    for second, command in enumerate(commands):
        before = upload
        try:
            events = decide(upload, command)
        except UploadRefused:
            events = []
        for event in events:
            upload = evolve(upload, event, second)
        if before.status != "pending":
            assert upload == before
        assert (upload.completed is not None) == (upload.status == "completed")


@given(st.lists(COMMANDS, max_size=20))
def test_what_was_completed_has_the_size_that_was_announced_each_part_once(
    commands: list[UploadCommand],
) -> None:
    upload = evolve(None, CREATED, 0)
    for second, command in enumerate(commands):
        try:
            for event in decide(upload, command):
                upload = evolve(upload, event, second)
        except UploadRefused:
            continue
    if upload.completed is not None:
        ids = upload.completed.part_ids
        assert len(set(ids)) == len(ids)
        sizes = {part.id: part.size for part in upload.parts}
        assert sum(sizes[id] for id in ids) == upload.created.size


@given(st.permutations(range(4)))
def test_the_caller_says_the_order_whatever_came_first(order: list[int]) -> None:
    upload = upload_of(1, 2, 3, 4)
    ids = [f"part_{n}" for n in order]
    assert [part.id for part in chosen_parts(upload, ids)] == ids
    assert decide(upload, CompleteUpload("file-1", tuple(ids))) == [UploadCompleted("file-1", tuple(ids))]


def test_an_upload_is_made_once_and_knows_when_its_time_is_over() -> None:
    assert decide(None, CreateUpload(CREATED)) == [CREATED]
    upload = evolve(None, CREATED, 7)
    assert decide(upload, CreateUpload(CREATED)) == []
    assert (upload.created_at, upload.expires_at) == (7, 7 + 3600)


def test_a_part_that_was_sent_twice_is_two_parts_of_which_one_may_be_left_out() -> None:
    upload = upload_of(10, 10)
    assert upload.parts[1] == Part("part_1", 10, "00" * 32, "uploads/1", 102)
    assert upload.part("part_0") == upload.parts[0]
    assert upload.part("part_2") is None
    assert decide(upload, CompleteUpload("file-1", ("part_1",)))


def test_completing_again_with_the_same_parts_changes_nothing() -> None:
    upload = evolve(upload_of(10, 10), UploadCompleted("file-1", ("part_0",)), 200)
    assert decide(upload, CompleteUpload("file-2", ("part_0",))) == []
    with pytest.raises(UploadRefused, match="Cannot complete an upload with status 'completed'"):
        decide(upload, CompleteUpload("file-2", ("part_1",)))


def test_completing_again_with_another_md5_is_refused() -> None:
    [completed] = decide(upload_of(10), CompleteUpload("file-1", ("part_0",), "0a" * 16))
    assert completed == UploadCompleted("file-1", ("part_0",), "0a" * 16)
    upload = evolve(upload_of(10), completed, 200)
    for md5 in ("0a" * 16, None):
        assert decide(upload, CompleteUpload("file-2", ("part_0",), md5)) == []
    with pytest.raises(UploadRefused, match=f"completed with {'0a' * 16}, but got {'0b' * 16}") as refused:
        decide(upload, CompleteUpload("file-2", ("part_0",), "0b" * 16))
    assert refused.value.param == "md5"
    unknown = evolve(upload_of(10), UploadCompleted("file-1", ("part_0",)), 200)
    with pytest.raises(UploadRefused, match="completed without one"):
        decide(unknown, CompleteUpload("file-2", ("part_0",), "0b" * 16))


@pytest.mark.parametrize(
    ("part_ids", "says"),
    [
        (["part_x"], "Invalid 'part_ids': the upload has no part 'part_x'."),
        (["part_0", "part_0"], "Invalid 'part_ids': the part 'part_0' is named twice."),
        (["part_0"], "have 6 bytes together, but the upload was created with 'bytes' 10."),
        (["part_0", "part_1", "part_2"], "have 11 bytes together"),
        ([], "have 0 bytes together"),
    ],
)
def test_a_refused_choice_of_parts_says_why_and_leaves_the_upload_pending(
    part_ids: list[str], says: str
) -> None:
    with pytest.raises(UploadRefused, match=says) as refused:
        decide(upload_of(6, 4, 1), CompleteUpload("file-1", tuple(part_ids)))
    assert refused.value.param == "part_ids"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (AddPart(added("n", 1)), "Cannot add a part to an upload with status 'cancelled'."),
        (CompleteUpload("file-1", ("part_0",)), "Cannot complete an upload with status 'cancelled'."),
        (CancelUpload(), "Cannot cancel an upload with status 'cancelled'."),
    ],
)
def test_an_upload_that_has_ended_takes_nothing_more(command: UploadCommand, says: str) -> None:
    upload = evolve(upload_of(10), UploadCancelled(), 200)
    with pytest.raises(UploadRefused, match=says) as refused:
        decide(upload, command)
    assert refused.value.param is None
    assert decide(upload, ExpireUpload()) == []


def test_parts_sent_again_have_a_bound() -> None:
    upload = upload_of(5, SENT_AGAIN + 14)
    assert decide(upload, AddPart(added("n", 1)))
    with pytest.raises(UploadRefused, match="Invalid 'data': with this part") as refused:
        decide(upload, AddPart(added("n", 2)))
    assert refused.value.param == "data"
    with pytest.raises(UploadRefused, match=f"at most {MOST_PARTS} parts"):
        decide(upload_of(*[0] * MOST_PARTS), AddPart(added("n", 1)))


def test_an_upload_begins_with_its_creation() -> None:
    with pytest.raises(ValueError, match="begins with UploadCreated"):
        evolve(None, UploadCancelled(), 0)
    with pytest.raises(ValueError, match="begins with CreateUpload"):
        decide(None, CancelUpload())


def test_ids_are_not_to_be_guessed() -> None:
    assert fresh_upload_id() != fresh_upload_id()
    assert fresh_part_id().startswith("part_")


@pytest.fixture
async def stage(database: Database) -> AsyncIterator[Stage]:
    async with open_stage(database.app_url) as stage:
        yield stage


async def recorded_upload(stage: Stage, lifetime: int) -> str:
    id = fresh_upload_id()
    created = UploadCreated("in.jsonl", "batch", "application/jsonl", 10, lifetime)
    await stage.log.append(
        [new_event(id, PROJECT, created)], rows=[Row("upload", id, PROJECT)], expect={id: 0}
    )
    return id


async def test_only_a_pending_upload_is_ever_overdue(stage: Stage) -> None:
    pending = await recorded_upload(stage, lifetime=3600)
    overdue, ended = [await recorded_upload(stage, lifetime=0) for _ in range(2)]
    await stage.log.append(
        [new_event(ended, PROJECT, UploadCancelled())], rows=[Row("upload", ended, PROJECT, hidden=True)]
    )
    for id in (pending, overdue, ended):
        await stage.project(Upload, id)
    assert await stage.models.overdue(Upload, 10) == [overdue]


async def test_a_part_is_no_orphan_for_as_long_as_the_log_names_it(stage: Stage) -> None:
    id = await recorded_upload(stage, lifetime=3600)
    await stage.log.append([new_event(id, PROJECT, added("a" * 32, 6))])
    key = f"uploads/{'a' * 32}"
    assert await stage.models.named([key, f"uploads/{'b' * 32}"]) == {key}
