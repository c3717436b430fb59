"""Sealing a real log into a real folder: what is signed, and what never is."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from engine.audit.sealer import Sealer, SealRefused
from engine.audit.signer import KeySigner
from engine.audit.witnesses import Witnesses
from events.audit.checkpoint import origin_of
from events.audit.keys import STREAM, AuditKeys
from events.audit.records import Signed
from events.audit.tree import extends, includes, leaf_hash
from events.buses.local_bus import LocalBus
from events.errors import LeadershipLost
from events.journal import Journal
from storage.store import StorageUnavailable, Store
from tests.engine.audit.mill import KEY, NEXT_KEY, Mill
from tests.events.audit import plain_tree


class BreakingStore:
    """A store that goes away after so many calls."""

    def __init__(self, store: Store, calls: int) -> None:
        self._store = store
        self._left = calls

    def __getattr__(self, name: str) -> Any:  # the port's methods, as they are
        async def call(*arguments: object) -> object:
            self._left -= 1
            if self._left < 0:
                raise StorageUnavailable("the disk was taken away")
            return await getattr(self._store, name)(*arguments)

        return call


async def test_each_event_has_its_leaf_at_its_position(mill: Mill) -> None:
    await mill.append(300)
    sealed = await mill.seal()
    entries = await mill.entries()
    assert sealed.last.size == len(entries) == 301
    assert sealed.last.root == plain_tree.mth(entries)
    tiles = await mill.tiles()
    newest = await tiles.newest()
    assert newest is not None
    assert newest.checkpoint == sealed.last
    assert newest.note.signers([KEY.public]) == [KEY.public]
    for index in (0, 1, 255, 256, 300):
        proof = await tiles.inclusion(index, 301)
        assert proof == plain_tree.path(index, entries)
        assert includes(sealed.last.root, 301, index, leaf_hash(entries[index]), proof)


async def test_a_leader_stores_the_newest_checkpoint_again_where_storage_lacks_it(mill: Mill) -> None:
    for _ in range(2):
        await mill.append(3)
        sealed = await mill.seal()
    newest = (await mill.tile_folder()).with_name("checkpoint")
    older, note = (await mill.signed())[0], newest.read_text()
    newest.write_text(older.note.encode())
    await mill.seal()
    assert newest.read_text() == note
    newest.unlink()
    assert (await mill.seal()).last == sealed.last
    assert newest.read_text() == note


async def test_a_leader_goes_on_where_the_last_one_was(mill: Mill) -> None:
    sizes = []
    for events in (1, 254, 1, 1, 600, 3):
        await mill.append(events)
        sizes.append((await mill.seal()).last.size)
    assert sizes == [2, 256, 257, 258, 858, 861]
    signed = [one.checkpoint for one in await mill.signed()]
    assert [one.size for one in signed] == sizes
    entries = await mill.entries()
    tiles = await mill.tiles()
    for one in signed:
        assert one.root == plain_tree.mth(entries[: one.size])
        proof = await tiles.consistency(one.size, 861)
        assert extends(one.root, one.size, signed[-1].root, 861, proof)
        assert await tiles.root(one.size) == one.root


async def test_where_nothing_was_appended_nothing_is_signed(mill: Mill) -> None:
    sealer = mill.sealer()
    sealed = await sealer.open(mill.leader)
    assert await sealer.seal(sealed, mill.leader)
    assert not await sealer.seal(sealed, mill.leader)
    assert len(await mill.signed()) == 1
    await mill.append(2)
    assert await sealer.seal(sealed, mill.leader)
    assert [one.checkpoint.size for one in await mill.signed()] == [1, 3]


async def test_partial_tiles_go_when_the_full_one_is_there(mill: Mill) -> None:
    sealer = mill.sealer()
    sealed = await sealer.open(mill.leader)
    for events in (4, 200, 100):
        await mill.append(events)
        await sealer.seal(sealed, mill.leader)
    folder = await mill.tile_folder()
    assert sorted(os.listdir(folder / "0")) == ["000", "001.p"]
    assert os.listdir(folder / "0" / "001.p") == ["49"]
    tiles = await mill.tiles()
    assert [await tiles.root(one.checkpoint.size) for one in await mill.signed()] == [
        one.checkpoint.root for one in await mill.signed()
    ]


async def test_a_crash_anywhere_leaves_what_the_next_leader_goes_on_with(mill: Mill) -> None:
    await mill.append(300)
    calls = 0
    while True:
        with suppress(StorageUnavailable):
            sealed = await mill.seal(store=BreakingStore(mill.store, calls))
            break
        calls += 1
        await mill.append(1)
    assert calls > 5
    entries = await mill.entries()
    assert sealed.last.root == plain_tree.mth(entries)
    for one in await mill.signed():
        assert one.checkpoint.root == plain_tree.mth(entries[: one.checkpoint.size])
    newest = await (await mill.tiles()).newest()
    assert newest is not None
    assert newest.checkpoint == sealed.last


async def test_a_checkpoint_that_only_storage_has_counts(mill: Mill) -> None:
    await mill.append(5)
    sealed = await mill.seal()
    await mill.as_superuser("DELETE FROM signed_checkpoints")
    await mill.append(1)
    assert (await mill.seal()).last.size == 7
    assert [one.checkpoint.size for one in await mill.signed()] == [6, 7]
    assert (await mill.signed())[0].checkpoint == sealed.last


@pytest.mark.parametrize("grown_again", [0, 2, 3, 300])
async def test_a_log_that_went_back_is_not_sealed(mill: Mill, grown_again: int) -> None:
    await mill.append(10)
    running = mill.sealer()
    sealed = await running.open(mill.leader)
    await running.seal(sealed, mill.leader)
    await mill.as_superuser("DELETE FROM events WHERE position > 8")
    if grown_again:
        await mill.append(grown_again)
    for seal in (running.seal(sealed, mill.leader), mill.seal()):
        with pytest.raises(SealRefused, match="batchmill log fork --reason"):
            await seal
    assert [one.checkpoint.size for one in await mill.signed()] == [11]

    begun = await mill.fork("restored")
    assert begun.position == 8 + grown_again
    forked = await mill.seal()
    assert forked.last.origin == origin_of(begun.id) != sealed.last.origin
    assert forked.last.root == plain_tree.mth(await mill.entries())


async def test_a_log_that_lost_its_last_events_and_its_checkpoints_is_not_sealed(mill: Mill) -> None:
    """As a database restored from an older copy is, beside a storage that was not."""
    await mill.append(10)
    await mill.seal()
    await mill.append(10)
    await mill.seal()
    await mill.as_superuser("DELETE FROM signed_checkpoints WHERE size > 11")
    await mill.as_superuser("DELETE FROM events WHERE position > 15")
    with pytest.raises(SealRefused, match="has no event at position 21, which was sealed"):
        await mill.seal()


async def test_tiles_that_were_lost_are_made_again_from_the_log(mill: Mill) -> None:
    await mill.append(300)
    await mill.seal()
    shutil.rmtree(await mill.tile_folder())
    await mill.append(1)
    again = await mill.seal()
    assert (again.last.size, again.last.root) == (302, plain_tree.mth(await mill.entries()))
    assert await (await mill.tiles()).root(302) == again.last.root


async def test_tiles_are_not_made_again_from_a_log_that_was_changed(mill: Mill) -> None:
    await mill.append(300)
    sealed = await mill.seal()
    shutil.rmtree(await mill.tile_folder())
    await mill.as_superuser("UPDATE events SET digest = sha256('other') WHERE position = 7")
    with pytest.raises(SealRefused, match="has other events up to position 301 than were sealed"):
        await mill.seal()
    await mill.append(1)
    with pytest.raises(SealRefused, match="does not begin with the 301 that were sealed"):
        await mill.seal()
    assert [one.checkpoint for one in await mill.signed()] == [sealed.last]


async def test_tiles_that_were_changed_are_not_gone_on_with(mill: Mill) -> None:
    await mill.append(9)
    await mill.seal()
    tile = await mill.tile_folder() / "0" / "000.p" / "10"
    tile.write_bytes(bytes(320))
    with pytest.raises(SealRefused, match="tiles in storage have another root than was signed of size 10"):
        await mill.seal()


async def test_how_long_the_log_waits_to_be_sealed_is_known(mill: Mill) -> None:
    await mill.append(3)
    assert await mill.records.unsealed() is None
    await mill.seal()
    assert await mill.records.unsealed() == 0.0
    await mill.append(1)
    waited = await mill.records.unsealed()
    assert waited is not None
    assert 0 < waited < (await mill.records.unsealed() or 0)
    await mill.fork("restored")
    assert (await mill.records.unsealed() or 0) > waited


async def test_a_log_that_is_still_not_sealed_is_told_of_again(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.audit.sealer.FIRST_PAUSE", 0.0)
    monkeypatch.setattr("engine.audit.sealer.TOLD_AGAIN", 250.0)
    times = iter(range(0, 100_000, 100))
    await mill.append(1)
    with capture_logs() as logs:
        running = asyncio.create_task(
            mill.sealer(store=BreakingStore(mill.store, 0), clock=lambda: float(next(times))).run(mill.leader)
        )
        while len(told := [line for line in logs if line["event"] == "the log is not sealed"]) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        running.cancel()
    assert [(line["log_level"], line["seconds"]) for line in told[:2]] == [("warning", 100), ("error", 400)]
    assert "the disk was taken away" in told[0]["reason"]


async def test_a_former_leader_signs_nothing(mill: Mill) -> None:
    await mill.append(3)
    former = mill.leader
    sealer = mill.sealer()
    sealed = await sealer.open(former)
    mill.leader = await mill.stage.lead("sealer")
    with pytest.raises(LeadershipLost):
        await sealer.seal(sealed, former)
    assert await mill.signed() == []
    assert await (await mill.tiles()).newest() is None
    assert (await mill.seal()).last.size == 4


async def test_a_new_key_signs_together_with_the_old_one_and_the_log_says_so(mill: Mill) -> None:
    await mill.append(1)
    await mill.seal(KEY)
    await mill.seal(KEY)
    both = await mill.seal(NEXT_KEY, KEY)
    assert [one.note.signers([KEY.public, NEXT_KEY.public]) for one in await mill.signed()] == [
        [KEY.public],
        [NEXT_KEY.public, KEY.public],
    ]
    assert both.last.size == 3
    await mill.append(1)
    await mill.seal(NEXT_KEY)
    keys = (await mill.stage.models.get(AuditKeys, STREAM)).state
    assert [adopted.key for adopted in keys.keys] == [KEY.public.text, NEXT_KEY.public.text]


async def test_a_key_that_nobody_vouches_for_signs_nothing(mill: Mill) -> None:
    await mill.append(1)
    await mill.seal(KEY)
    with pytest.raises(SealRefused, match="give the old key below the new one"):
        await mill.seal(NEXT_KEY)
    assert (await mill.stage.models.get(AuditKeys, STREAM)).state.current == KEY.public.text


async def test_what_was_signed_of_a_size_is_never_replaced(mill: Mill) -> None:
    await mill.append(1)
    sealed = await mill.seal()
    [first] = await mill.signed()
    other = Signed(first.checkpoint, await KeySigner([NEXT_KEY]).sign(first.checkpoint.text))
    assert await mill.records.keep(mill.leader, sealed.incarnation, other) == first
    assert await mill.signed() == [first]
    async with mill.stage.database.writing() as connection:
        for statement in ("DELETE FROM signed_checkpoints", "UPDATE signed_checkpoints SET note = ''"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_the_first_checkpoint_that_covers_a_position_is_found(mill: Mill) -> None:
    await mill.append(3)
    sealed = await mill.seal()
    await mill.append(3)
    await mill.seal()
    found: Sequence[Signed | None] = [
        await mill.records.covering(sealed.incarnation, position) for position in (1, 4, 5, 7, 8)
    ]
    assert [None if one is None else one.checkpoint.size for one in found] == [4, 4, 7, 7, None]


async def test_a_sealer_seals_all_by_itself_until_its_leadership_ends(mill: Mill) -> None:
    await mill.append(2)
    sealer = Sealer(
        Journal(mill.stage.log, mill.stage.models, LocalBus()),
        mill.records,
        mill.store,
        KeySigner([KEY]),
        Witnesses([]),
        every=0.01,
    )
    running = asyncio.create_task(sealer.run(mill.leader))
    for events in (1, 300):
        await mill.append(events)
        head = await mill.stage.log.head()
        async with asyncio.timeout(20):
            incarnation = await mill.records.incarnation()
            while await mill.records.covering(incarnation, head) is None:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.01)
    await mill.stage.lead("sealer")
    await mill.append(1)
    with pytest.raises(BaseExceptionGroup) as ended:
        await running
    assert ended.group_contains(LeadershipLost)
