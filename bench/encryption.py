"""What encryption costs: files put and read with it and without, beside the bare cipher in the same run.

    python -m bench.encryption [--megabytes 200] [--rounds 3]

Linux only.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.finalize_reverse import MIB, forget_peak, memory
from bench.machine import machine
from storage.encrypted_store import FRAMES_AT_ONCE, EncryptedStore
from storage.frames import FRAME_BYTES, decrypt, encrypt
from storage.local_folder import LocalFolder
from storage.store import Store
from tests.storage.data_keys import HeldDataKeys

MB: Final = 1_000_000
CHUNK: Final = os.urandom(1 << 16)


async def body(size: int) -> AsyncIterator[bytes]:
    """A body that is made in no time."""
    for _ in range(0, size, len(CHUNK)):
        yield CHUNK


async def stored(store: Store, size: int) -> tuple[float, float, float]:
    """Seconds of a put and of a get, and by how many MiB the process grew meanwhile."""
    forget_peak()
    before, began = memory("VmRSS"), time.perf_counter()
    put = await store.put(body(size), prefix="files", project="p")
    between = time.perf_counter()
    async for _ in store.get(put.key):
        pass
    ended = time.perf_counter()
    grew = (memory("VmHWM") - before) / MIB
    await store.delete(put.key)
    return between - began, ended - between, grew


def bare(size: int, step: Callable[[bytes], object], part: bytes) -> float:
    """Seconds of one thread that does this step with so many bytes, part by part."""
    began = time.perf_counter()
    for _ in range(0, size, FRAMES_AT_ONCE * FRAME_BYTES):
        step(part)
    return time.perf_counter() - began


async def measure(megabytes: int, rounds: int) -> None:
    """Prints MB/s, of the best of some rounds each."""
    size = megabytes * MB
    cipher = AESGCM(bytes(32))
    part = os.urandom(FRAMES_AT_ONCE * FRAME_BYTES)
    frames = encrypt(cipher, 0, part, ends=True)
    steps: dict[str, tuple[Callable[[bytes], object], bytes]] = {
        "bare AES-256-GCM": (lambda plain: cipher.encrypt(bytes(12), plain, None), part),
        "frames, encrypting": (lambda plain: encrypt(cipher, 0, plain, ends=True), part),
        "frames, decrypting": (lambda found: decrypt(cipher, 0, found, ends=True), frames),
    }
    for name, (step, given) in steps.items():
        best = min(bare(size, step, given) for _ in range(rounds))
        print(f"{name:24} {megabytes / best:8,.0f} MB/s", flush=True)
    with tempfile.TemporaryDirectory(prefix="batchmill-bench-") as place:
        folder = LocalFolder(Path(place) / "objects")
        stores: dict[str, Store] = {"plain": folder, "encrypted": EncryptedStore(folder, HeldDataKeys())}
        for name, store in stores.items():
            found = [await stored(store, size) for _ in range(rounds)]
            put, get = (min(one[at] for one in found) for at in (0, 1))
            print(
                f"{name:24} {megabytes / put:8,.0f} MB/s put {megabytes / get:8,.0f} MB/s get, "
                f"{max(grew for _, _, grew in found):.1f} MiB more at the peak",
                flush=True,
            )
        await folder.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--megabytes", type=int, default=200)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    print(machine())
    asyncio.run(measure(given.megabytes, given.rounds))


if __name__ == "__main__":
    main()
