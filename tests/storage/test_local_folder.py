"""The folder of the local disk: the suite, and what only a disk can do to us."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.draft import Draft
from storage.local_folder import LocalFolder
from storage.store import StorageError, StorageFull, StorageUnavailable
from storage.sweep import sweep
from tests.storage.bodies import Stalled, body_of, repeated
from tests.storage.small_disk import small_disk
from tests.storage.store_suite import MIB, StoreSuite, assert_flat_memory, in_an_hour, listed, whole

__all__ = ["small_disk"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalFolder]:
    folder = LocalFolder(tmp_path / "deep" / "objects")
    yield folder
    await folder.close()


class TestLocalFolder(StoreSuite):
    """The suite of all stores."""


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_put_is_synced_before_it_is_visible_and_its_folders_after(
    store: LocalFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "deep" / "objects"
    steps: list[tuple[str, Path, int]] = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(descriptor: int) -> None:
        fsync(descriptor)
        path = next(
            path for path in [root, *root.rglob("*")] if os.path.samestat(path.stat(), os.fstat(descriptor))
        )
        steps.append(("fsync", path.relative_to(root), os.fstat(descriptor).st_size if path.is_file() else 0))

    def seen_rename(old: Path, new: Path) -> None:
        rename(old, new)
        steps.append(("rename", new.relative_to(root), new.stat().st_size))

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)
    stored = await store.put(body_of(b"x" * 3 * MIB), prefix="files/input", project="p")

    assert [name for name, _, _ in steps] == ["fsync", "rename", "fsync", "fsync", "fsync"]
    (_, draft, synced), (_, published, size), *folders = steps
    assert draft.parent == Path(".drafts")
    assert synced == size == stored.size
    assert published == Path(stored.key)
    assert [path for _, path, _ in folders] == [Path("files/input"), Path("files"), Path(".")]


async def test_the_folders_a_store_makes_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[os.stat_result] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor)))
    await LocalFolder(tmp_path / "a" / "b").close()
    assert [status.st_ino for status in synced] == [
        folder.stat().st_ino for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")
    ]


async def test_a_put_that_cannot_be_synced_fails_and_leaves_nothing(
    store: LocalFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageUnavailable, match="Input/output error"):
        await store.put(body_of(b"x"), prefix="files", project="p")
    assert files_below(tmp_path) == []


async def test_a_full_disk_is_told_with_its_remedy_and_leaves_nothing(small_disk: Path) -> None:
    store = LocalFolder(small_disk)
    kept = await store.put(body_of(b"kept"), prefix="files", project="p")
    with pytest.raises(StorageFull, match=f"{small_disk}: No space left on device; free some space"):
        await store.put(repeated(bytes(MIB), 20), prefix="files", project="p")
    assert [info.key for info in await listed(store)] == [kept.key]
    assert await whole(store, kept.key) == b"kept"
    assert (await store.put(repeated(bytes(MIB), 3), prefix="files", project="p")).size == 3 * MIB
    await store.close()


async def test_a_quota_that_is_used_up_is_a_full_disk(
    store: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def over_quota(descriptor: int, data: memoryview) -> int:
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(os, "write", over_quota)
    with pytest.raises(StorageFull, match="Disk quota exceeded"):
        await store.put(body_of(b"x"), prefix="files", project="p")


async def test_memory_stays_flat_whatever_the_size(store: LocalFolder) -> None:
    await assert_flat_memory(store)


async def test_a_disk_that_hangs_is_told_in_time_and_leaves_nothing_once_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalFolder(tmp_path / "objects", patience=0.05)
    answers, write = threading.Event(), os.write

    def hanging(descriptor: int, data: memoryview) -> int:
        answers.wait()
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", hanging)
    with pytest.raises(StorageUnavailable, match=r"did not answer within 0\.05 s") as failure:
        await store.put(body_of(b"x"), prefix="files", project="p")
    assert "left to the sweep" in failure.value.__notes__[0]
    answers.set()
    await store.close()
    assert files_below(tmp_path) == []


async def test_a_put_cancelled_twice_leaves_nothing(
    store: LocalFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    reached, answers, fsync = asyncio.Event(), threading.Event(), os.fsync

    def slow(descriptor: int) -> None:
        loop.call_soon_threadsafe(reached.set)
        answers.wait()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    putting = asyncio.create_task(store.put(body_of(b"x"), prefix="files", project="p"))
    await reached.wait()
    putting.cancel()
    await asyncio.sleep(0)
    putting.cancel()
    answers.set()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert files_below(tmp_path) == []


async def test_a_folder_that_is_gone_does_not_look_like_a_lost_object(
    store: LocalFolder, tmp_path: Path
) -> None:
    stored = await store.put(body_of(b"x"), prefix="files", project="p")
    (tmp_path / "deep" / "objects").rename(tmp_path / "unmounted")
    with pytest.raises(StorageUnavailable, match="No such file or directory"):
        await store.read(stored.key, 0, 1)
    with pytest.raises(StorageUnavailable, match="No such file or directory"):
        await store.put(body_of(b"x"), prefix="files", project="p")
    assert not (tmp_path / "deep" / "objects").exists()


async def test_what_a_dead_put_left_is_seen_by_nobody_and_swept_once_it_is_old(tmp_path: Path) -> None:
    died, lives = LocalFolder(tmp_path / "objects"), LocalFolder(tmp_path / "objects")
    body = Stalled(bytes(MIB), 3)
    putting = asyncio.create_task(died.put(body, prefix="files", project="p"))
    await body.reached.wait()
    assert [path.parent.name for path in files_below(tmp_path)] == [".drafts"]
    [draft] = await listed(lives)

    async def nothing_is_named(keys: object) -> set[str]:
        return set()

    assert await sweep(lives, nothing_is_named, draft.modified) == 0
    assert await sweep(lives, nothing_is_named, in_an_hour()) == 1
    assert files_below(tmp_path) == []

    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await died.close()
    await lives.close()


async def test_a_sweep_passes_by_what_no_store_has_made(store: LocalFolder, tmp_path: Path) -> None:
    notes = tmp_path / "deep" / "objects" / "notes.txt"
    notes.write_text("mine")
    assert await listed(store) == []


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(StorageError, match="holds something else"):
        LocalFolder(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable, match="File exists"):
        LocalFolder(tmp_path / "file" / "objects")


async def test_objects_are_for_the_owner_alone(store: LocalFolder, tmp_path: Path) -> None:
    stored = await store.put(body_of(b"x"), prefix="files", project="p")
    root = tmp_path / "deep" / "objects"
    assert root.stat().st_mode & 0o077 == 0
    assert (root / stored.key).stat().st_mode & 0o077 == 0


async def test_a_folder_is_used_again_with_what_it_holds(tmp_path: Path) -> None:
    first = LocalFolder(tmp_path / "objects")
    stored = await first.put(body_of(b"still here"), prefix="files", project="p")
    await first.close()
    again = LocalFolder(tmp_path / "objects")
    assert await whole(again, stored.key) == b"still here"
    await again.close()


async def test_a_download_under_way_survives_the_deletion_of_its_object(store: LocalFolder) -> None:
    stored = await store.put(body_of(bytes(3 * MIB)), prefix="files", project="p")
    pieces = aiter(store.get(stored.key))
    size = len(await anext(pieces))
    await store.delete(stored.key)
    size += sum([len(piece) async for piece in pieces])
    assert size == 3 * MIB


async def test_a_download_that_is_left_closes_its_file(store: LocalFolder, tmp_path: Path) -> None:
    stored = await store.put(body_of(bytes(3 * MIB)), prefix="files", project="p")
    path = tmp_path / "deep" / "objects" / stored.key
    for _ in range(20):
        pieces = store.get(stored.key)
        await anext(pieces)
        assert descriptors_of(path) > 0
        del pieces
    while descriptors_of(path):  # noqa: ASYNC110  # the collector tells nobody
        await asyncio.sleep(0.01)


def descriptors_of(path: Path) -> int:
    """How often this process has a file open."""
    of_file, found = path.stat(), 0
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the one that lists is closed by now
            found += os.path.samestat(os.fstat(int(name)), of_file)
    return found


async def test_free_space_is_what_the_disk_says(store: LocalFolder, tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    free = await store.free_space()
    assert free is not None
    assert abs(free - status.f_bavail * status.f_frsize) < 1 << 30


async def test_the_age_of_an_object_is_that_of_its_last_byte(store: LocalFolder, tmp_path: Path) -> None:
    stored = await store.put(body_of(b"x"), prefix="files", project="p")
    two_days_ago = time.time() - 2 * 86400
    os.utime(tmp_path / "deep" / "objects" / stored.key, (two_days_ago, two_days_ago))
    [info] = await listed(store, older_than=datetime.now(UTC) - timedelta(days=1))
    assert info.key == stored.key


async def test_a_put_that_fails_and_is_cancelled_ends_when_nothing_of_it_is_left(
    store: LocalFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    discard, begun, may_go_on = Draft.discard, threading.Event(), threading.Event()

    def slow_discard(draft: Draft) -> None:
        begun.set()
        assert may_go_on.wait(10)
        discard(draft)

    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * 3 * MIB
        raise ConnectionError("the client is gone")

    monkeypatch.setattr(Draft, "discard", slow_discard)
    putting = asyncio.create_task(store.put(failing(), prefix="files", project="p"))
    assert await asyncio.to_thread(begun.wait, 10)
    assert files_below(tmp_path) != []
    putting.cancel()
    ended, _ = await asyncio.wait({putting}, timeout=0.05)
    assert not ended
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert files_below(tmp_path) == []
