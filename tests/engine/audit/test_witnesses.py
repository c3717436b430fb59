"""Witnesses: what each of them gets, and that none of them delays another."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from engine.audit.witnesses import FileWitness, HttpWitness, StoreWitness, Witnesses, WitnessFailed, name_of
from events.audit.checkpoint import Checkpoint
from events.audit.note import MalformedNote, PrivateKey, parse_notes, sign
from events.audit.records import Signed
from storage.local_folder import LocalFolder
from tests.receiver import answer, receiver

KEY: Final = PrivateKey("mill", bytes(32))


def signed(size: int, root: bytes = bytes(32)) -> Signed:
    checkpoint = Checkpoint("batchmill/9c09c112-2d7c-4e9e-aa2f-9bc640db9ae2", size, root)
    return Signed(checkpoint, sign(checkpoint.text, [KEY]))


class Slow:
    """Fails so often, and then remembers what it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.place = "slow"
        self.told: list[int] = []
        self.failures = failures
        self.came = asyncio.Event()

    async def tell(self, signed: Signed) -> None:
        if self.failures:
            self.failures -= 1
            raise WitnessFailed("it is away")
        self.told.append(signed.checkpoint.size)
        self.came.set()

    async def until_told(self) -> None:
        async with asyncio.timeout(20):
            await self.came.wait()


@asynccontextmanager
async def running(witnesses: Witnesses) -> AsyncIterator[None]:
    task = asyncio.create_task(witnesses.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_file_has_every_note_in_order(tmp_path: Path) -> None:
    witness = FileWitness(tmp_path / "checkpoints")
    for size in (1, 2, 30):
        await witness.tell(signed(size))
    text = (tmp_path / "checkpoints").read_text()
    assert parse_notes(text) == [signed(size).note for size in (1, 2, 30)]
    assert parse_notes("") == []
    for cut in (len(text) - 1, len(text) - 20, 60):
        with pytest.raises(MalformedNote):
            parse_notes(text[:cut])


async def test_a_disk_that_is_full_leaves_no_half_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness, write = FileWitness(tmp_path / "checkpoints"), os.write
    await witness.tell(signed(1))
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, text: write(descriptor, text[:10]))
        with pytest.raises(WitnessFailed, match="cannot be written: No space left on device"):
            await witness.tell(signed(2))
    await witness.tell(signed(3))
    assert [note.text for note in parse_notes((tmp_path / "checkpoints").read_text())] == [
        signed(size).note.text for size in (1, 3)
    ]


async def test_a_store_has_an_object_for_each_and_refuses_a_second_one_of_a_size(tmp_path: Path) -> None:
    store = LocalFolder(tmp_path)
    witness = StoreWitness(store, "file:///witness")
    for size in (7, 7, 30):
        await witness.tell(signed(size))
    name = name_of(signed(7).checkpoint)
    assert name == "checkpoints/9c09c112-2d7c-4e9e-aa2f-9bc640db9ae2/00000000000000000007"
    assert await store.read(name, 0, 1000) == signed(7).note.encode().encode()
    with pytest.raises(WitnessFailed, match="is kept with other bytes"):
        await witness.tell(signed(7, root=bytes([1] * 32)))
    await store.close()


async def test_a_url_gets_the_note_and_says_that_it_has_it() -> None:
    async with receiver() as called:
        witness = HttpWitness(called.url("/hook?token=secret"), "http://witness/hook", patience=20)
        await witness.tell(signed(3))
        [heard] = called.heard
        assert heard.body == signed(3).note.encode().encode()
        called.answering = lambda _: answer(503)
        with pytest.raises(WitnessFailed, match="http://witness/hook answered 503"):
            await witness.tell(signed(4))
    with pytest.raises(WitnessFailed, match="http://witness/hook did not answer") as failed:
        await witness.tell(signed(4))
    assert "secret" not in str(failed.value)


async def test_a_witness_that_is_away_delays_no_other_and_gets_the_newest() -> None:
    away, ready = Slow(failures=1), Slow()
    witnesses = Witnesses([away, ready], first_pause=0.05)
    async with running(witnesses):
        witnesses.tell(signed(1))
        await ready.until_told()
        assert (away.told, ready.told) == ([], [1])
        witnesses.tell(signed(2))
        witnesses.tell(signed(3))
        await away.until_told()
    assert (away.told, away.failures) == ([3], 0)
