"""A large file goes up to a process of its own and comes down again: how much memory that takes."""

import asyncio
import hashlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from events.buses.local_bus import LocalBus
from events.catalog import new_event
from events.database import Database as Pools
from events.journal import Decision, Journal
from events.key import describe_secret, fresh_secret
from events.log import Row
from events.postgres_log import PostgresLog
from events.read_models import ReadModels
from tests.api.client import FORM, field
from tests.postgres import Database

MIB = 1 << 20
MOST_GROWTH = 64 * MIB


def peak_memory(pid: int) -> int:
    """The most memory a process has held, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def key_of(database_url: str) -> str:
    pools = await Pools.open(database_url, connections=2)
    try:
        secret = fresh_secret()
        described = describe_secret(secret)
        await Journal(PostgresLog(pools), ReadModels(pools), LocalBus()).record(
            Decision(
                [new_event("key_1", "p", described)],
                rows=[Row("key", "key_1", "p", label=described.sha256)],
            )
        )
        return secret
    finally:
        await pools.close()


def digest_of_only_file(folder: Path) -> bytes:
    (stored,) = [path for path in folder.rglob("*") if path.is_file()]
    with stored.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


async def body(size: int, digest: "hashlib._Hash") -> AsyncIterator[bytes]:
    yield b"--a-boundary\r\n" + field("purpose", "fine-tune") + b"\r\n--a-boundary\r\n"
    yield b'Content-Disposition: form-data; name="file"; filename="large.bin"\r\n\r\n'
    piece = os.urandom(MIB)
    for _ in range(size // MIB):
        digest.update(piece)
        yield piece
    yield b"\r\n--a-boundary--\r\n"


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("size", [160 * MIB, pytest.param(512 * MIB, marks=pytest.mark.soak)])
async def test_a_large_file_up_and_down_takes_less_than_64_mb(
    size: int, database: Database, tmp_path: Path
) -> None:
    key = await key_of(database.app_url)
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.api.serve_alone", database.app_url, str(tmp_path), stdout=-1, stdin=-1
    )
    try:
        assert server.stdout is not None
        port = int(await server.stdout.readline())
        headers = {"authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
            async with session.get("/v1/files") as answer:
                assert answer.status == 200
            before = peak_memory(server.pid)
            digest = hashlib.sha256()
            async with session.post("/v1/files", data=body(size, digest), headers=FORM) as answer:
                shown = await answer.json()
                assert answer.status == 200, shown
            assert shown["bytes"] == size
            assert digest_of_only_file(tmp_path) == digest.digest()
            assert peak_memory(server.pid) - before < MOST_GROWTH
            returned = hashlib.sha256()
            async with session.get(f"/v1/files/{shown['id']}/content") as answer:
                async for piece in answer.content.iter_any():
                    returned.update(piece)
            assert returned.digest() == digest.digest()
            assert peak_memory(server.pid) - before < MOST_GROWTH
    finally:
        server.kill()
        await server.wait()
