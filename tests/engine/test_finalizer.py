"""A batch ends with every line in exactly one of its two files, in line order, or it says why not yet."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec
import pytest

from engine.finalizer import Finalizer, ResultsNotWritten
from events.failpoint import FailpointRaised, arm
from events.file import File
from events.inputs.planning import InputChanged
from events.outcomes.flush_body import ResultsDamaged
from storage.local_folder import LocalFolder
from storage.store import Stored
from tests.engine.recorded import PROJECT, RecordedBatch, World, request_line, result_line, shuffled, world_on
from tests.postgres import Database
from tests.storage.small_disk import SIZE, small_disk

__all__ = ["small_disk"]

CANCELLED = "This request was not executed because the batch was cancelled."
EXPIRED = "This request could not be executed before the completion window expired."


class Line(msgspec.Struct):
    """What a client reads of a result line."""

    id: str
    custom_id: str
    error: dict[str, str] | None


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(database.app_url, tmp_path / "objects") as world:
        yield world


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm("")


def finalizer_of(world: World) -> Finalizer:
    return Finalizer(world.journal, world.store, world.options)


def requests(count: int) -> list[bytes]:
    return [request_line(n) for n in range(count)]


def lines_of(content: bytes) -> list[Line]:
    return [msgspec.json.decode(line, type=Line) for line in content.splitlines()]


async def objects(world: World) -> set[str]:
    later = datetime.now(UTC) + timedelta(hours=1)
    return {info.key async for info in world.store.list(older_than=later)}


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_batch_recorded_in_any_order_is_completed_with_its_lines_in_order(world: World) -> None:
    batch = await world.batch(requests(300))
    for lines in shuffled(300, seed=1, most=40):
        await batch.record_lines(lines)

    assert await finalizer_of(world).finalize(batch.id)

    ended = await batch.state()
    assert (ended.status, ended.completed, ended.failed, ended.error_file_id) == ("completed", 300, 0, None)
    expected = b"".join(result_line(batch.id, line) for line in range(300))
    assert await world.content(ended.output_file_id) == expected
    assert await world.board.open_batches([batch.id]) == []


async def test_successes_and_failures_go_into_a_file_each(world: World) -> None:
    batch = await world.batch(requests(6))
    await batch.record_lines([1, 3, 5], 422)
    await batch.record_lines([0, 4], 201)
    await batch.record_lines([2], -2)

    await finalizer_of(world).finalize(batch.id)

    ended = await batch.state()
    assert (ended.status, ended.completed, ended.failed) == ("completed", 2, 4)
    assert await world.content(ended.output_file_id) == b"".join(
        result_line(batch.id, line, 201) for line in (0, 4)
    )
    failed = lines_of(await world.content(ended.error_file_id))
    assert [line.custom_id for line in failed] == ["line-1", "line-2", "line-3", "line-5"]


async def test_a_batch_of_which_every_line_failed_is_completed_without_an_output_file(world: World) -> None:
    batch = await world.batch(requests(3))
    await batch.record_lines(range(3), 400)

    await finalizer_of(world).finalize(batch.id)

    ended = await batch.state()
    assert (ended.status, ended.output_file_id) == ("completed", None)
    assert len(lines_of(await world.content(ended.error_file_id))) == 3


async def test_the_files_are_the_projects_and_expire_with_the_batchs_wish(world: World) -> None:
    batch = await world.batch(requests(2), expires_after=7_200)
    await batch.record_lines([0])
    await batch.record_lines([1], 500)

    await finalizer_of(world).finalize(batch.id)

    page = await world.models.page(File, PROJECT, label="batch_output", newest_first=False)
    found = {file.state.created.filename: file for file in page.objects}
    assert set(found) == {f"{batch.id}_output.jsonl", f"{batch.id}_error.jsonl"}
    for file in found.values():
        assert file.state.expires_at == file.state.created_at + 7_200
        assert file.state.created.batch_id == batch.id
        assert await world.models.named([file.state.created.storage_key])


async def test_without_a_wish_the_files_expire_after_the_default(world: World) -> None:
    batch = await world.batch(requests(1))
    await batch.record_lines([0])

    await finalizer_of(world).finalize(batch.id)

    output = await world.models.get(File, (await batch.state()).output_file_id or "")
    assert output.state.created.expires_after == 30 * 86_400


async def test_a_batch_with_lines_open_goes_on(world: World) -> None:
    batch = await world.batch(requests(2))
    await batch.record_lines([0])

    assert not await finalizer_of(world).finalize(batch.id)

    assert (await batch.state()).status == "in_progress"
    assert await batch.record_lines([1]) == "recorded"


async def test_a_cancelled_batch_keeps_what_was_recorded_and_names_what_was_not_run(world: World) -> None:
    batch = await world.batch(requests(10))
    await batch.record_lines([2, 3, 7])
    await batch.record_lines([5], 400)
    await batch.cancel()

    assert await finalizer_of(world).finalize(batch.id)

    ended = await batch.state()
    assert (ended.status, ended.completed, ended.failed, ended.finalizing_at) == ("cancelled", 3, 1, None)
    done = lines_of(await world.content(ended.output_file_id))
    assert [line.custom_id for line in done] == ["line-2", "line-3", "line-7"]
    others = lines_of(await world.content(ended.error_file_id))
    assert [line.custom_id for line in others] == [f"line-{n}" for n in (0, 1, 4, 5, 6, 8, 9)]
    unrun = {"code": "batch_cancelled", "message": CANCELLED}
    assert [line.error for line in others if line.custom_id != "line-5"] == [unrun] * 6


async def test_an_expired_batch_says_so_of_every_line_not_run(world: World) -> None:
    batch = await world.batch(requests(3))
    await batch.expire()

    await finalizer_of(world).finalize(batch.id)

    ended = await batch.state()
    assert (ended.status, ended.output_file_id, ended.failed) == ("expired", None, 0)
    lines = lines_of(await world.content(ended.error_file_id))
    assert [line.error for line in lines] == [{"code": "batch_expired", "message": EXPIRED}] * 3


async def test_custom_ids_of_lines_not_run_are_the_bytes_of_the_input(world: World) -> None:
    odd = rb'"a\u0042 \ud800 \/"'
    line = b'{"custom_id":%b,"method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}'
    batch = await world.batch([line % odd])
    await batch.cancel()

    await finalizer_of(world).finalize(batch.id)

    assert b'"custom_id":%b,' % odd in await world.content((await batch.state()).error_file_id)


async def test_a_batch_cancelled_while_validating_has_ended_without_files(world: World) -> None:
    batch = await world.created(requests(1))
    await batch.cancel_while_validating()

    assert await finalizer_of(world).finalize(batch.id)

    ended = await batch.state()
    assert (ended.status, ended.output_file_id, ended.error_file_id) == ("cancelled", None, None)


async def test_nothing_can_be_recorded_once_a_batch_is_finalizing(world: World) -> None:
    batch = await world.batch(requests(2))
    await batch.record_lines([0])
    await batch.cancel()
    arm("put.before=raise")
    with pytest.raises(FailpointRaised):
        await finalizer_of(world).finalize(batch.id)

    assert await batch.record_lines([1]) == "lost"


async def test_what_failed_half_way_is_finished_by_another_call(world: World) -> None:
    batch = await world.batch(requests(2))
    await batch.record_lines([0])
    await batch.record_lines([1], 500)
    for point in ("append.before", "put.before", "put.after", "announce.before"):
        arm(f"{point}=raise")
        with pytest.raises(FailpointRaised):
            await finalizer_of(world).finalize(batch.id)

    assert await finalizer_of(world).finalize(batch.id)

    ended = await batch.state()
    assert ended.status == "completed"
    assert len(lines_of(await world.content(ended.output_file_id))) == 1


async def test_finalizing_again_changes_nothing(world: World) -> None:
    batch = await world.batch(requests(1))
    await batch.record_lines([0])
    await finalizer_of(world).finalize(batch.id)
    ended, stored = await batch.state(), await objects(world)

    assert await finalizer_of(world).finalize(batch.id)

    assert (await batch.state(), await objects(world)) == (ended, stored)


async def test_of_finalizers_at_the_same_time_one_closes_and_no_object_is_left_of_the_others(
    world: World,
) -> None:
    batch = await world.batch(requests(200))
    for lines in shuffled(200, seed=2):
        await batch.record_lines(lines, 200 if len(lines) % 2 else 400)

    assert all(await asyncio.gather(*(finalizer_of(world).finalize(batch.id) for _ in range(4))))

    ended = await batch.state()
    assert ended.output_file_id
    assert ended.error_file_id
    assert await objects(world) == {
        await world.object_of(id) for id in (batch.input_file_id, ended.output_file_id, ended.error_file_id)
    }


async def test_two_finalizers_make_the_same_bytes(world: World) -> None:
    batch = await world.batch(requests(50))
    await batch.record_lines(range(10, 20))
    await batch.cancel()
    arm("append.before=raise@2")
    with pytest.raises(FailpointRaised):
        await finalizer_of(world).finalize(batch.id)
    first = await objects(world) - {await world.object_of(batch.input_file_id)}

    await finalizer_of(world).finalize(batch.id)

    ended = await batch.state()
    files = {await world.content(ended.output_file_id), await world.content(ended.error_file_id)}
    assert {await world.store.read(key, 0, 1 << 20) for key in first} == files


async def test_a_cancel_while_finalizing_ends_in_cancelled_with_the_same_complete_files(
    world: World,
) -> None:
    batch = await world.batch(requests(5))
    await batch.record_lines(range(5))
    arm("put.after=raise")
    with pytest.raises(FailpointRaised):
        await finalizer_of(world).finalize(batch.id)
    await batch.cancel()

    await finalizer_of(world).finalize(batch.id)

    ended = await batch.state()
    assert (ended.status, ended.completed, ended.error_file_id) == ("cancelled", 5, None)
    assert len(lines_of(await world.content(ended.output_file_id))) == 5


def cancel_when_put(batch: RecordedBatch, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the batch cancelled as soon as one of its files is put."""
    put = world.store.put

    async def put_then_cancel(body: AsyncIterable[bytes], *, prefix: str, project: str) -> Stored:
        stored = await put(body, prefix=prefix, project=project)
        await batch.cancel()
        return stored

    monkeypatch.setattr(world.store, "put", put_then_cancel)


async def test_a_cancel_just_before_the_closing_append_keeps_the_files_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await world.batch(requests(5))
    await batch.record_lines(range(5))
    cancel_when_put(batch, world, monkeypatch)
    await finalizer_of(world).finalize(batch.id)

    ended = await batch.state()
    assert (ended.status, ended.completed) == ("cancelled", 5)
    assert len(lines_of(await world.content(ended.output_file_id))) == 5


async def test_a_cancel_while_finalizing_as_expired_says_cancelled_of_every_line_not_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await world.batch(requests(3))
    await batch.record_lines([0])
    await batch.expire()
    cancel_when_put(batch, world, monkeypatch)
    assert await finalizer_of(world).finalize(batch.id)

    ended = await batch.state()
    assert (ended.status, ended.completed) == ("cancelled", 1)
    lines = lines_of(await world.content(ended.error_file_id))
    assert [line.error for line in lines] == [{"code": "batch_cancelled", "message": CANCELLED}] * 2
    files = {await world.object_of(id) for id in (ended.output_file_id, ended.error_file_id) if id}
    assert await objects(world) == files | {await world.object_of(batch.input_file_id)}


async def test_a_full_disk_is_told_loses_nothing_and_passes(
    world: World, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await world.batch(requests(12))
    for line in range(12):
        await batch.record_lines([line], 200 if line % 2 else 400, SIZE // 4)
    full = LocalFolder(small_disk / "objects")
    finalizer = Finalizer(world.journal, full, world.options)

    with pytest.raises(ResultsNotWritten, match="No space left on device; free some space"):
        await finalizer.finalize(batch.id)

    assert files_below(small_disk) == []
    monkeypatch.undo()
    assert await finalizer_of(world).finalize(batch.id)
    assert (await batch.state()).completed == 6
    await full.close()


async def test_results_that_are_not_what_was_recorded_make_no_file(world: World, database: Database) -> None:
    batch = await world.batch(requests(2))
    await batch.record_lines([0])
    await batch.record_lines([1])
    owner = await asyncpg.connect(database.superuser_url)
    await owner.execute("SET session_replication_role = replica")
    await owner.execute(
        "DELETE FROM attachments WHERE event_id IN (SELECT event_id FROM events "
        "WHERE type = 'LinesCompleted' ORDER BY position DESC LIMIT 1)"
    )
    await owner.close()
    before = await objects(world)

    with pytest.raises(ResultsDamaged, match="are gone from the log"):
        await finalizer_of(world).finalize(batch.id)

    assert await objects(world) == before
    assert (await batch.state()).status == "finalizing"


async def test_an_input_that_has_changed_makes_no_line_under_a_wrong_name(world: World) -> None:
    batch = await world.batch(requests(2))
    await batch.cancel()
    stored = Path(world.options.spill_folder) / (await world.object_of(batch.input_file_id))
    stored.write_bytes(stored.read_bytes().replace(b"line-1", b"line-7"))

    with pytest.raises(InputChanged, match="line 2 "):
        await finalizer_of(world).finalize(batch.id)

    assert (await batch.state()).status == "cancelling"
