"""What every store promises. A class of tests inherits the suite and gives the fixture `store`."""

import asyncio
import hashlib
import random
import re
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from storage.store import NameTaken, ObjectInfo, ObjectMissing, StorageError, Store
from storage.sweep import sweep
from tests.storage.bodies import ClientGone, Stalled, body_of, broken_after, repeated

MIB = 1 << 20


def in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


async def listed(store: Store, older_than: datetime | None = None) -> list[ObjectInfo]:
    return [info async for info in store.list(older_than=older_than or in_an_hour())]


async def whole(store: Store, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.get(key, start, end)])


async def assert_flat_memory(store: Store) -> None:
    """Puts and gets an object several times as large as all that may be held of it."""
    tracemalloc.start()
    try:
        stored = await store.put(repeated(bytes(64 << 10), 16 * 16), prefix="files", project="p")
        size = 0
        async for piece in store.get(stored.key):
            size += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == stored.size == 16 * MIB
    assert peak < 4 * MIB


async def assert_range(store: Store, start: int, end: int | None) -> None:
    stored = await store.put(body_of(b"0123456789"), prefix="files", project="p")
    expected = b"0123456789"[start:end]
    assert await whole(store, stored.key, start, end) == expected
    if end is not None:
        assert await store.read(stored.key, start, end) == expected


class StoreSuite:
    async def test_what_was_put_is_read_back_with_its_size_and_digest(self, store: Store) -> None:
        stored = await store.put(body_of(b"one\n", b"two\n"), prefix="files", project="p")
        assert stored.size == 8
        assert stored.sha256 == hashlib.sha256(b"one\ntwo\n").digest()
        assert await whole(store, stored.key) == b"one\ntwo\n"

    async def test_every_put_has_a_fresh_random_key_under_its_prefix(self, store: Store) -> None:
        keys = [(await store.put(body_of(b"same"), prefix="files/input", project="p")).key for _ in range(3)]
        assert len(set(keys)) == 3
        assert all(re.fullmatch("(.+/)?files/input/[0-9a-f]{32}", key) for key in keys)

    async def test_an_empty_body_is_an_empty_object(self, store: Store) -> None:
        stored = await store.put(body_of(), prefix="files", project="p")
        assert (stored.size, stored.sha256) == (0, hashlib.sha256().digest())
        assert await whole(store, stored.key) == b""
        assert await store.read(stored.key, 0, 10) == b""

    async def test_what_was_lost_is_put_again_under_its_key(self, store: Store) -> None:
        stored = await store.put(body_of(b"one\n", b"two\n"), prefix="files", project="p")
        await store.delete(stored.key)
        assert await store.put_again(body_of(b"one\ntwo\n"), stored.key) == stored
        assert await whole(store, stored.key) == b"one\ntwo\n"
        assert await store.put_again(body_of(b"one\n", b"two\n"), stored.key) == stored
        undigested = await store.put_again(body_of(b"one\ntwo\n"), stored.key, digests=False)
        assert (undigested.key, undigested.size) == (stored.key, stored.size)
        assert await whole(store, stored.key) == b"one\ntwo\n"

    async def test_nothing_is_put_again_where_no_put_was(self, store: Store) -> None:
        for key in ("audit/checkpoint", "files/../" + "0" * 32):
            with pytest.raises(StorageError, match="key"):
                await store.put_again(body_of(b"x"), key)
        with pytest.raises(ClientGone):
            await store.put_again(broken_after(bytes(MIB), 3), "files/" + "0" * 32)
        assert await listed(store) == []

    async def test_empty_chunks_are_nothing(self, store: Store) -> None:
        stored = await store.put(body_of(b"", b"a", b"", b"b", b""), prefix="files", project="p")
        assert await whole(store, stored.key) == b"ab"

    async def test_many_small_chunks_become_one_object(self, store: Store) -> None:
        chunks = [b"%d\n" % number for number in range(200_000)]
        stored = await store.put(body_of(*chunks), prefix="files", project="p")
        assert stored.sha256 == hashlib.sha256(b"".join(chunks)).digest()
        assert await whole(store, stored.key) == b"".join(chunks)

    async def test_one_chunk_of_24_mb_becomes_one_object(self, store: Store) -> None:
        """In a bucket it is put in more parts than are under way at once."""
        chunk = random.Random(1).randbytes(24_000_000)
        stored = await store.put(body_of(chunk), prefix="files", project="p")
        assert (stored.size, stored.sha256) == (len(chunk), hashlib.sha256(chunk).digest())
        assert await whole(store, stored.key) == chunk

    async def test_pieces_of_a_get_are_bounded(self, store: Store) -> None:
        stored = await store.put(body_of(bytes(20 * MIB)), prefix="files", project="p")
        assert all([0 < len(piece) <= 4 * MIB async for piece in store.get(stored.key)])

    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, 1), (0, 10), (3, 7), (9, 10), (0, None), (4, None), (5, 5), (7, 3)],
    )
    async def test_a_range_is_exact(self, store: Store, start: int, end: int | None) -> None:
        await assert_range(store, start, end)

    @pytest.mark.parametrize(
        ("start", "end"), [(8, 12), (0, 1000), (10, None), (10, 11), (500, 600), (500, None)]
    )
    async def test_a_range_past_the_end_is_what_there_is_of_it(
        self, store: Store, start: int, end: int | None
    ) -> None:
        await assert_range(store, start, end)

    async def test_a_range_over_many_pieces_is_exact(self, store: Store) -> None:
        content = random.Random(2).randbytes(9 * MIB + 17)
        stored = await store.put(body_of(content), prefix="files", project="p")
        assert await whole(store, stored.key, 1_000_003, 9 * MIB + 5) == content[1_000_003 : 9 * MIB + 5]
        assert await store.read(stored.key, 4 * MIB - 1, 8 * MIB + 1) == content[4 * MIB - 1 : 8 * MIB + 1]

    async def test_reading_an_absent_object_says_that_it_is_missing(self, store: Store) -> None:
        absent = "files/" + "0" * 32
        with pytest.raises(ObjectMissing, match=absent):
            await whole(store, absent)
        with pytest.raises(ObjectMissing, match=absent):
            await whole(store, absent, 5, 5)
        with pytest.raises(ObjectMissing, match=absent):
            await store.read(absent, 0, 1)

    @pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "files/../../x", "files//x", "files/\n", "."])
    async def test_what_is_no_key_is_refused(self, store: Store, key: str) -> None:
        with pytest.raises(StorageError, match="is no key"):
            await store.read(key, 0, 1)
        with pytest.raises(StorageError, match="is no key"):
            await store.delete(key)

    async def test_a_deleted_object_is_gone_and_may_be_deleted_again(self, store: Store) -> None:
        stored = await store.put(body_of(b"x"), prefix="files", project="p")
        await store.delete(stored.key)
        await store.delete(stored.key)
        with pytest.raises(ObjectMissing):
            await store.read(stored.key, 0, 1)
        assert await listed(store) == []

    @pytest.mark.parametrize("chunks", [0, 1, 12])
    async def test_a_body_that_fails_leaves_nothing(self, store: Store, chunks: int) -> None:
        with pytest.raises(ClientGone):
            await store.put(broken_after(bytes(MIB), chunks), prefix="files", project="p")
        assert await listed(store) == []

    @pytest.mark.parametrize("chunks", [0, 1, 12])
    async def test_a_cancelled_put_leaves_nothing(self, store: Store, chunks: int) -> None:
        body = Stalled(bytes(MIB), chunks)
        putting = asyncio.create_task(store.put(body, prefix="files", project="p"))
        await body.reached.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert await listed(store) == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_a_put_cancelled_at_any_step_leaves_nothing(self, store: Store) -> None:
        steps = 0
        while True:
            putting = asyncio.create_task(store.put(repeated(bytes(MIB), 2), prefix="files", project="p"))
            for _ in range(steps):
                await asyncio.sleep(0)
            if not putting.cancel():
                break
            with pytest.raises(asyncio.CancelledError):
                await putting
            assert await listed(store) == []
            steps += 1 + steps // 4
        assert [info.key for info in await listed(store)] == [putting.result().key]

    async def test_puts_do_not_disturb_each_other(self, store: Store) -> None:
        bodies = [bytes([number]) * (100_000 * number) for number in range(12)]
        stored = await asyncio.gather(
            *(store.put(body_of(body), prefix="files", project="p") for body in bodies)
        )
        assert [await whole(store, one.key) for one in stored] == bodies

    async def test_a_listing_tells_keys_and_sizes(self, store: Store) -> None:
        one = await store.put(body_of(b"1"), prefix="files", project="p")
        two = await store.put(body_of(b"22"), prefix="output/deep", project="p")
        found = {info.key: info.size for info in await listed(store)}
        assert found == {one.key: 1, two.key: 2}

    async def test_a_listing_leaves_out_what_is_younger(self, store: Store) -> None:
        stored = await store.put(body_of(b"x"), prefix="files", project="p")
        [info] = await listed(store)
        assert await listed(store, older_than=info.modified) == []
        [again] = await listed(store, older_than=info.modified + timedelta(microseconds=1))
        assert again.key == stored.key

    async def test_a_sweep_deletes_what_no_event_names_and_keeps_the_rest(self, store: Store) -> None:
        kept = {(await store.put(body_of(b"kept"), prefix="files", project="p")).key for _ in range(3)}
        for _ in range(4):
            await store.put(body_of(b"orphan"), prefix="files", project="p")

        async def named(keys: Sequence[str]) -> set[str]:
            return kept & set(keys)

        assert await sweep(store, named, datetime.now(UTC) - timedelta(days=1)) == 0
        assert await sweep(store, named, in_an_hour()) == 4
        assert {info.key for info in await listed(store)} == kept
        assert await sweep(store, named, in_an_hour()) == 0

    async def test_what_is_kept_is_found_by_its_name(self, store: Store) -> None:
        await store.keep("log/tile/0/x001/000.p/7", b"seven")
        await store.keep("log/tile/0/x001/000", b"")
        assert await whole(store, "log/tile/0/x001/000.p/7") == b"seven"
        assert await store.read("log/tile/0/x001/000.p/7", 1, 3) == b"ev"
        assert await whole(store, "log/tile/0/x001/000") == b""
        await store.delete("log/tile/0/x001/000.p/7")
        with pytest.raises(ObjectMissing):
            await store.read("log/tile/0/x001/000.p/7", 0, 1)

    async def test_what_is_kept_never_changes(self, store: Store) -> None:
        await store.keep("log/one", b"first")
        await store.keep("log/one", b"first")
        for other in (b"other", b"first and more", b"fir", b""):
            with pytest.raises(NameTaken, match="log/one is kept with other bytes"):
                await store.keep("log/one", other)
        assert await whole(store, "log/one") == b"first"

    async def test_of_many_that_keep_other_bytes_under_one_name_one_does(self, store: Store) -> None:
        bodies = [bytes([number]) * 1000 for number in range(8)]
        kept = await asyncio.gather(*(store.keep("log/one", b) for b in bodies), return_exceptions=True)
        assert [type(one) for one in kept if one is not None] == [NameTaken] * 7
        assert await whole(store, "log/one") == bodies[kept.index(None)]

    async def test_what_is_replaced_is_the_last_that_was_stored(self, store: Store) -> None:
        await store.replace("log/newest", b"one")
        await store.replace("log/newest", b"two")
        assert await whole(store, "log/newest") == b"two"
        await asyncio.gather(*(store.replace("log/newest", bytes([n]) * 9) for n in range(8)))
        assert len(set(await whole(store, "log/newest"))) == 1

    async def test_no_listing_shows_and_no_sweep_takes_what_has_a_name(self, store: Store) -> None:
        await store.keep("log/one", b"1")
        await store.replace("log/newest", b"2")
        orphan = await store.put(body_of(b"orphan"), prefix="files", project="p")
        assert [info.key for info in await listed(store)] == [orphan.key]

        async def named(keys: Sequence[str]) -> set[str]:
            return set()

        assert await sweep(store, named, in_an_hour()) == 1
        assert await whole(store, "log/one") + await whole(store, "log/newest") == b"12"

    @pytest.mark.parametrize("name", ["log/" + "0" * 32, "../log", "log//one", ""])
    async def test_a_name_is_none_that_a_put_could_make(self, store: Store, name: str) -> None:
        with pytest.raises(StorageError, match=r"is no (key|name)"):
            await store.keep(name, b"x")
        with pytest.raises(StorageError, match=r"is no (key|name)"):
            await store.replace(name, b"x")

    async def test_a_sweep_asks_in_pages(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("storage.sweep.PAGE", 2)
        for _ in range(5):
            await store.put(body_of(b"orphan"), prefix="files", project="p")
        asked: list[int] = []

        async def named(keys: Sequence[str]) -> set[str]:
            asked.append(len(keys))
            return set()

        assert await sweep(store, named, in_an_hour()) == 5
        assert asked == [2, 2, 1]
