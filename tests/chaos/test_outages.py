"""What is away comes back: upstream, storage, the server. No line is lost, and who waits is told why."""

import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from tests.chaos.checker import Kill, broken_promises, results_of
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import Json, Mill, Refused, mill, polling
from tests.chaos.witness import story_of
from tests.ports import free_port
from tests.postgres import Database
from tests.storage.small_disk import small_disk
from tests.upstream import LedgerUpstream, ledger_upstream

__all__ = ["small_disk"]


def waits_for(words: str) -> Callable[[Json], bool]:
    """Whether a batch says that it waits for that."""
    return lambda batch: words in (batch["batchmill"]["waiting_for"] or "")


async def test_an_upstream_that_is_down_at_first_and_again_in_the_middle(
    data_folder: Path, ledger: Path
) -> None:
    port = free_port()
    lines = fresh_names(300)
    outages: list[Kill] = []
    async with mill(data_folder, f"http://127.0.0.1:{port}/v1", concurrency="8") as serving:
        batch_id = await serving.submit(batch_of(lines))
        async with polling(serving, batch_id) as polls:
            await polls.until(waits_for("route paused"))
            async with ledger_upstream(ledger, port=port, latency=0.03) as upstream:
                await upstream.until(lambda u: u.tries >= 100)
            outages.append(Kill(time.monotonic()))
            seen = len(polls.seen)
            await polls.until(lambda b: b in polls.seen[seen:] and waits_for("route paused")(b))
            async with ledger_upstream(ledger, port=port, latency=0.03):
                await polls.until_ended()
            story = await story_of(serving, polls, lines, ledger, outages)

    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)


async def test_files_deleted_under_a_running_batch(
    data_folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    upstream.latency = 0.02
    lines = fresh_names(200)
    async with mill(data_folder, upstream.url, concurrency="8") as serving:
        file_id = await serving.upload(batch_of(lines))
        batch_id = await serving.create(file_id)
        async with polling(serving, batch_id) as polls:
            await polls.until_done(20)
            assert (await serving.delete_file(file_id))["deleted"] is True
            with pytest.raises(Refused, match="404"):
                await serving.content(file_id)
            story = await story_of(serving, polls, lines, ledger)

    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)


async def test_a_disk_that_is_full_when_results_are_written(
    data_folder: Path, upstream: LedgerUpstream, ledger: Path, small_disk: Path
) -> None:
    lines = fresh_names(40)
    filler = small_disk / "filler"
    async with mill(data_folder, upstream.url, storage_url=small_disk.as_uri()) as serving:
        file_id = await serving.upload(batch_of(lines, dict.fromkeys(lines, "big 60000")))
        filler.write_bytes(bytes(3 << 20))
        batch_id = await serving.create(file_id)
        async with polling(serving, batch_id) as polls:
            waiting = await polls.until(waits_for("No space left"))
            assert waiting["status"] == "finalizing"
            filler.unlink()
            story = await story_of(serving, polls, lines, ledger)

    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)


async def test_no_line_is_handed_out_below_the_floor_of_free_space(
    data_folder: Path, upstream: LedgerUpstream, ledger: Path, small_disk: Path
) -> None:
    upstream.latency = 0.05
    lines = fresh_names(200)
    filler = small_disk / "filler"
    settings = {
        "storage_url": small_disk.as_uri(),
        "free_space_floor": "2MiB",
        "concurrency": "4",
        "chunk_lines": "4",
    }
    async with mill(data_folder, upstream.url, **settings) as serving:
        batch_id = await serving.submit(batch_of(lines))
        async with polling(serving, batch_id) as polls:
            await polls.until_done(20)
            filler.write_bytes(bytes(3 << 20))
            with pytest.raises(Refused, match=r"^5\d\d"):
                await serving.upload(batch_of(lines))
            await polls.until(waits_for("disk below floor"))
            assert upstream.tries < len(lines)
            filler.unlink()
            story = await story_of(serving, polls, lines, ledger)

    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)


@pytest.mark.soak  # so does one of tests/cli
async def test_a_server_told_to_stop_records_what_is_under_way_and_goes_on_later(
    data_folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    upstream.latency = 0.2
    lines = fresh_names(200)
    async with mill(data_folder, upstream.url, concurrency="16") as serving:
        batch_id = await serving.submit(batch_of(lines))
        async with polling(serving, batch_id) as polls:
            await upstream.until(lambda u: u.tries >= 50)
            assert await serving.stop() == 0
            tries = upstream.tries
            assert upstream.under_way == 0
            await serving.start()
            story = await story_of(serving, polls, lines, ledger)

    assert broken_promises(story) == []
    assert len(story.visits) == len(lines)
    assert tries < len(lines)


@pytest.mark.soak  # so has one of tests/cli
async def test_a_drain_has_a_bound(data_folder: Path, upstream: LedgerUpstream) -> None:
    lines = fresh_names(8)
    async with mill(data_folder, upstream.url, drain="1s") as serving:
        await serving.submit(batch_of(lines, dict.fromkeys(lines, "stall")))
        await upstream.until(lambda u: u.under_way == len(lines))
        assert await serving.stop() == 0


@pytest.mark.soak  # so is one of tests/cli
async def test_a_second_server_on_the_same_folder_is_refused(
    data_folder: Path, upstream: LedgerUpstream
) -> None:
    async with mill(data_folder, upstream.url):
        second = Mill(data_folder, upstream.url)
        with pytest.raises(AssertionError, match="is in use"):
            await second.start()
        assert await second.ended() != 0


async def test_a_storage_folder_that_is_gone_for_a_while(
    tmp_path: Path, data_folder: Path, upstream: LedgerUpstream, ledger: Path
) -> None:
    upstream.latency = 0.05
    lines = fresh_names(300)
    folder, away = tmp_path / "files", tmp_path / "away"
    folder.mkdir()
    settings = {"storage_url": folder.as_uri(), "concurrency": "4", "chunk_lines": "4"}
    async with mill(data_folder, upstream.url, **settings) as serving:
        batch_id = await serving.submit(batch_of(lines))
        async with polling(serving, batch_id) as polls:
            await polls.until_done(20)
            folder.rename(away)
            await polls.until(waits_for(f"storage is away: {folder}"))
            told = len(polls.seen)
            await polls.until(lambda _: len(polls.seen) > told + 70)
            assert all(waits_for(str(folder))(poll) for poll in polls.seen[-50:])
            away.rename(folder)
            story = await story_of(serving, polls, lines, ledger)
        assert serving.running

    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)


@pytest.mark.soak  # a fleet's are cut, too
async def test_a_database_that_cuts_every_connection_time_and_again(
    data_folder: Path, upstream: LedgerUpstream, ledger: Path, database: Database
) -> None:
    upstream.latency = 0.05
    lines = fresh_names(400)
    settings = {
        "database_url": database.app_url,
        "database_owner_url": database.owner_url,
        "concurrency": "8",
        "chunk_lines": "16",
    }
    async with mill(data_folder, upstream.url, **settings) as serving:
        batch_id = await serving.submit(batch_of(lines))
        async with polling(serving, batch_id) as polls:
            for done in range(20, 400, 20):
                await polls.until_done(done)
                await cut_connections(database)
            story = await story_of(serving, polls, lines, ledger)
        assert serving.starts == 1
        assert await serving.stop() == 0

    assert broken_promises(story) == []
    assert len(results_of(story.output)) == len(lines)


async def cut_connections(database: Database) -> None:
    """Cuts every connection but those of whoever looks on."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND usename <> current_user"
        )
    finally:
        await connection.close()
