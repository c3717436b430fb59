"""8 GiB in 128 parts, eight at a time, the server killed once: what arrives is right, and memory is flat.

`BATCHMILL_TEST_UPLOAD_BYTES` has it happen with less.
"""

import asyncio
import hashlib
import os
import random
import re
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
import pytest

from tests.api.client import FORM
from tests.chaos.mill import BOUND, KEY, PATIENCE, Mill, mill
from tests.upstream import LedgerUpstream

SIZE: Final = int(os.environ.get("BATCHMILL_TEST_UPLOAD_BYTES", 8 << 30))
PARTS: Final = 128
AT_ONCE: Final = 8
KILLED_AFTER: Final = 48
"""Parts that were answered."""
MIB: Final = 1 << 20
MOST_GROWTH: Final = 96 * MIB
PIECE: Final = 1 << 20


def pieces_of(part: int) -> AsyncIterator[bytes]:
    """The content of a part, and it alone, piece by piece."""

    async def made() -> AsyncIterator[bytes]:
        chance, left = random.Random(part), SIZE // PARTS
        while left:
            yield chance.randbytes(min(left, PIECE))
            left -= min(left, PIECE)

    return made()


async def form_of(part: int) -> AsyncIterator[bytes]:
    yield b'--a-boundary\r\nContent-Disposition: form-data; name="data"; filename="upload"\r\n\r\n'
    async for piece in pieces_of(part):
        yield piece
    yield b"\r\n--a-boundary--\r\n"


async def md5_of_all() -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for part in range(PARTS):
        async for piece in pieces_of(part):
            digest.update(piece)
    return digest.hexdigest()


def peak_memory(pid: int) -> int:
    """The most memory a process has held, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def peak_of_database(serving: Mill) -> int:
    """The same of that process of the database which has held most, shared buffers included."""
    [postmaster] = [child for child in psutil.Process(serving.pid).children() if "postgres" in child.name()]
    pids = [postmaster.pid, *(child.pid for child in postmaster.children())]
    return max(peak_memory(pid) for pid in pids)


class Sender:
    """A client that sends parts until each was answered, whatever happens to the server."""

    def __init__(self, serving: Mill, session: aiohttp.ClientSession) -> None:
        self._serving = serving
        self._session = session
        self.answered: dict[int, str] = {}
        self.sent_again = 0

    async def post(self, path: str, **what: Any) -> dict[str, Any]:  # aiohttp's arguments
        async with self._session.post(self._serving.url + path, **what) as answer:
            shown: dict[str, Any] = await answer.json()
            assert answer.status == 200, shown
            return shown

    async def send_all(self, upload_id: str) -> None:
        """Every part, the last first, so many at a time."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def send(part: int) -> None:
            async with turns:
                while part not in self.answered:
                    try:
                        shown = await self.post(
                            f"/uploads/{upload_id}/parts", data=form_of(part), headers=FORM
                        )
                        self.answered[part] = shown["id"]
                    except aiohttp.ClientError:
                        self.sent_again += 1
                        await asyncio.sleep(PATIENCE)

        async with asyncio.TaskGroup() as group:
            for part in reversed(range(PARTS)):
                group.create_task(send(part))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
async def test_8_gb_in_128_parts_survive_a_kill_in_flat_memory(
    tmp_path: Path, upstream: LedgerUpstream
) -> None:
    headers, no_limit = {"Authorization": f"Bearer {KEY}"}, aiohttp.ClientTimeout(total=None)
    growth: list[int] = []
    async with (
        mill(tmp_path / "data", upstream.url, max_upload_bytes=str(SIZE)) as serving,
        aiohttp.ClientSession(headers=headers, timeout=no_limit) as session,
    ):
        sender = Sender(serving, session)
        about = {"filename": "large", "purpose": "fine-tune", "mime_type": "text/plain", "bytes": SIZE}
        upload_id = (await sender.post("/uploads", json=about))["id"]
        before, began = peak_memory(serving.pid), time.monotonic()
        sending = asyncio.create_task(sender.send_all(upload_id))
        while len(sender.answered) < KILLED_AFTER:  # noqa: ASYNC110  # the server's answers come as they come
            await asyncio.sleep(PATIENCE)
        growth.append(peak_memory(serving.pid) - before)
        await serving.kill()
        await serving.start()
        before = peak_memory(serving.pid)
        await sending
        sent = time.monotonic()
        growth.append(peak_memory(serving.pid) - before)

        whole = {"part_ids": [sender.answered[n] for n in range(PARTS)], "md5": await md5_of_all()}
        completing = time.monotonic()
        shown = await sender.post(f"/uploads/{upload_id}/complete", json=whole)
        completed = time.monotonic()
        growth.append(peak_memory(serving.pid) - before)
        peaks = peak_memory(serving.pid), peak_of_database(serving)

        assert (shown["status"], shown["file"]["bytes"]) == ("completed", SIZE)
        digest = hashlib.md5(usedforsecurity=False)
        async with session.get(f"{serving.url}/files/{shown['file']['id']}/content") as answer:
            async for piece in answer.content.iter_any():
                digest.update(piece)
        assert digest.hexdigest() == whole["md5"]
        async with asyncio.timeout(BOUND):
            # What was stored and never recorded is left to the sweep.
            while len(list((serving.files / "parts").iterdir())) > AT_ONCE:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(PATIENCE)
        assert await serving.stop() == 0
    print(
        f"{SIZE / MIB:,.0f} MiB in {PARTS} parts: sent in {sent - began:.1f} s ({sender.sent_again} tries "
        f"more), put together in {completed - completing:.1f} s; memory grew by "
        f"{', '.join(f'{grown / MIB:.1f}' for grown in growth)} MiB, to {peaks[0] / MIB:.1f} in serve and "
        f"{peaks[1] / MIB:.1f} in the largest process of the database"
    )
    assert sender.sent_again
    assert max(growth) < MOST_GROWTH
