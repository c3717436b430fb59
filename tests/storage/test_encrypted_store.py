"""Objects encrypted in front of another store: the suite, and what can be done to us in the other store."""

import secrets
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import pytest

from storage.data_key import NoDataKeys
from storage.encrypted_store import EncryptedStore
from storage.frames import ENCRYPTED_FRAME_BYTES, FRAME_BYTES
from storage.local_folder import LocalFolder
from storage.store import ObjectDamaged, ObjectMissing, StorageError, StorageUnavailable
from tests.storage.bodies import body_of
from tests.storage.data_keys import HeldDataKeys
from tests.storage.store_suite import StoreSuite, assert_flat_memory, whole


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[LocalFolder]:
    folder = LocalFolder(tmp_path / "objects")
    yield folder
    await folder.close()


@pytest.fixture
def keys() -> HeldDataKeys:
    return HeldDataKeys()


@pytest.fixture
def store(folder: LocalFolder, keys: HeldDataKeys) -> EncryptedStore:
    return EncryptedStore(folder, keys)


class TestEncryptedStore(StoreSuite):
    """The suite of all stores."""


async def test_the_store_behind_sees_no_text(
    store: EncryptedStore, folder: LocalFolder, tmp_path: Path
) -> None:
    text = secrets.token_bytes(3 * FRAME_BYTES)
    stored = await store.put(body_of(text), prefix="files", project="p")
    [kept] = [path.read_bytes() for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert len(kept) > len(text)
    assert not any(text[at : at + 8] in kept for at in range(0, len(text), 4096))
    assert await whole(folder, stored.key) == kept


async def test_a_range_reads_its_frames_alone(store: EncryptedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    text = secrets.token_bytes(8 * FRAME_BYTES)
    stored = await store.put(body_of(text), prefix="files", project="p")
    asked: list[tuple[int, int]] = []
    read = LocalFolder.read

    async def seen(folder: LocalFolder, key: str, start: int, end: int) -> bytes:
        asked.append((start, end))
        return await read(folder, key, start, end)

    monkeypatch.setattr(LocalFolder, "read", seen)
    start = 3 * FRAME_BYTES + 100
    assert await store.read(stored.key, start, start + 10) == text[start : start + 10]
    assert asked == [(3 * ENCRYPTED_FRAME_BYTES, 4 * ENCRYPTED_FRAME_BYTES + 1)]


@pytest.mark.parametrize("size", [0, 1, FRAME_BYTES, 4 * FRAME_BYTES, 4 * FRAME_BYTES + 1])
async def test_ranges_are_exact_around_the_edges_of_frames(store: EncryptedStore, size: int) -> None:
    text = secrets.token_bytes(size)
    stored = await store.put(body_of(text), prefix="files", project="p")
    edges = (0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, size - 1, size, size + 1, 9 * FRAME_BYTES)
    for start, end in product((edge for edge in edges if edge >= 0), repeat=2):
        assert await store.read(stored.key, start, end) == text[start:end]
        assert await whole(store, stored.key, start, end) == text[start:end]


async def test_plain_and_encrypted_objects_lie_side_by_side(
    store: EncryptedStore, folder: LocalFolder, keys: HeldDataKeys
) -> None:
    before = await folder.put(body_of(b"from before"), prefix="files", project="p")
    encrypted = await store.put(body_of(b"encrypted"), prefix="files", project="p")
    keys.encrypts = False
    after = await store.put(body_of(b"after"), prefix="files", project="p")
    assert [await whole(store, one.key) for one in (before, encrypted, after)] == [
        b"from before",
        b"encrypted",
        b"after",
    ]
    assert await whole(folder, after.key) == b"after"
    assert await store.put_again(body_of(b"encrypted"), encrypted.key) == encrypted
    assert b"encrypted" not in await whole(folder, encrypted.key)


async def test_what_a_destroyed_key_encrypted_is_gone_and_nothing_else(
    store: EncryptedStore, keys: HeldDataKeys
) -> None:
    erased = await store.put(body_of(b"x"), prefix="files", project="erased")
    other = await store.put(body_of(b"x"), prefix="files", project="other")
    keys.destroy("erased")
    for reading in (store.read(erased.key, 0, 1), whole(store, erased.key), whole(store, erased.key, 5, 5)):
        with pytest.raises(ObjectMissing, match="destroyed"):
            await reading
    assert await whole(store, other.key) == b"x"
    await store.delete(erased.key)
    anew = await store.put(body_of(b"anew"), prefix="files", project="erased")
    assert await whole(store, anew.key) == b"anew"


@pytest.mark.parametrize("size", [0, 1, FRAME_BYTES, 5 * FRAME_BYTES, 5 * FRAME_BYTES + 1])
async def test_an_object_that_was_tampered_with_is_damaged(
    store: EncryptedStore, folder: LocalFolder, size: int
) -> None:
    stored = await store.put(body_of(bytes(size)), prefix="files", project="p")
    other = await store.put(body_of(bytes(size)), prefix="files", project="p")
    kept, swapped = await whole(folder, stored.key), await whole(folder, other.key)
    flipped = kept[:-1] + bytes([kept[-1] ^ 1])
    cut = (kept[:-1], kept[: len(kept) - 1 - (len(kept) - 1) % ENCRYPTED_FRAME_BYTES], b"")
    for tampered in (flipped, *cut, kept + b"x", kept + swapped, swapped):
        await folder.put_again(body_of(tampered), stored.key)
        with pytest.raises(ObjectDamaged, match=stored.key):
            await whole(store, stored.key)
        with pytest.raises(ObjectDamaged, match=stored.key):
            await store.read(stored.key, 0, size + 1)


async def test_without_data_keys_nothing_is_encrypted_and_nothing_encrypted_is_read(
    store: EncryptedStore, folder: LocalFolder
) -> None:
    stored = await store.put(body_of(b"x"), prefix="files", project="p")
    without = EncryptedStore(folder, NoDataKeys())
    plain = await without.put(body_of(b"plain"), prefix="files", project="p")
    assert await whole(folder, plain.key) == await whole(without, plain.key) == b"plain"
    with pytest.raises(StorageUnavailable, match="data key"):
        await without.read(stored.key, 0, 1)
    with pytest.raises(StorageError, match="is no key"):
        await without.read("../x", 0, 1)


async def test_memory_stays_flat_whatever_the_size(store: EncryptedStore) -> None:
    await assert_flat_memory(store)
