"""An upload in parts outlives the server: what was answered is never sent again, and completing goes on."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable
from pathlib import Path

import pytest
from openai import APIConnectionError, AsyncOpenAI

from storage.sweep import OWNER
from tests.chaos.mill import BOUND, KEY, PATIENCE, Mill, mill
from tests.upstream import LedgerUpstream

PIECES = [random.Random(n).randbytes(100_000 + n) for n in range(6)]
CONTENT = b"".join(PIECES)


def sdk(serving: Mill) -> AsyncOpenAI:
    """An SDK that asks once, wherever the server is now."""
    return AsyncOpenAI(base_url=serving.url, api_key=KEY, max_retries=0, timeout=BOUND)


async def dies_of(serving: Mill, request: Awaitable[object], next_failpoints: str) -> None:
    """Whoever asks gets no answer; the server is started again."""
    with pytest.raises(APIConnectionError):
        await request
    await serving.ended()
    await serving.start(next_failpoints)


def stored(serving: Mill) -> list[int]:
    """The sizes of all objects that are contents of files."""
    return sorted(
        path.stat().st_size
        for path in serving.files.rglob("*")
        if path.is_file() and path.relative_to(serving.files).parts[0] not in ("audit", OWNER)
    )


async def test_deaths_between_parts_and_while_they_are_put_together_cost_no_part(
    data_folder: Path, upstream: LedgerUpstream
) -> None:
    parts: dict[int, str] = {}

    async def send(client: AsyncOpenAI, *numbers: int) -> None:
        for n in numbers:
            parts[n] = (await client.uploads.parts.create(upload_id, data=PIECES[n])).id

    # A part is stored, not recorded; the whole is stored, not recorded; it is recorded, not answered.
    async with mill(data_folder, upstream.url, "put.after=kill@4") as serving:
        async with sdk(serving) as client:
            upload = await client.uploads.create(
                filename="x", purpose="fine-tune", mime_type="text/plain", bytes=len(CONTENT)
            )
            upload_id = upload.id
            await send(client, 5, 0, 3)
            await dies_of(serving, send(client, 1), "put.after=kill@4")
        async with sdk(serving) as client:
            await send(client, 4, 1, 2)
            chosen = [parts[n] for n in range(len(PIECES))]
            await dies_of(
                serving, client.uploads.complete(upload_id, part_ids=chosen), "announce.before=kill"
            )
        async with sdk(serving) as client:
            md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
            await dies_of(serving, client.uploads.complete(upload_id, part_ids=chosen, md5=md5), "")
        async with sdk(serving) as client:
            completed = await client.uploads.complete(upload_id, part_ids=chosen, md5=md5)
            assert completed.file is not None
            assert (await client.files.content(completed.file.id)).content == CONTENT
        orphans = [len(PIECES[1]), len(CONTENT)]
        async with asyncio.timeout(BOUND):
            while stored(serving) != sorted([*orphans, len(CONTENT)]):  # noqa: ASYNC110  # the mill does it
                await asyncio.sleep(PATIENCE)
        assert await serving.stop() == 0
