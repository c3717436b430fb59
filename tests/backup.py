"""Backups, made and restored as `docs/how-to/back-up-and-restore.md` has it, and what they have of a text."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import zstandard

from cli.embedded.postgres import LOGIN
from cli.embedded.postgres_programs import environment, programs_folder
from events.migrate import ROLE, migrate
from tests.postgres import Database

PATIENCE = 120.0
ZSTD = re.compile(rb"\x28\xb5\x2f\xfd")
"""What a zstd frame begins with."""
FRAME_BYTES = 64 << 10
"""As much of a file as one frame is looked for in."""


async def dump(database: Database, file: Path, *, plain: bool = False) -> None:
    """Dumps a database, as its owner, beside whatever runs on it; `plain` as text that can be searched."""
    form = f"--format={'plain' if plain else 'custom'}"
    await _run("pg_dump", form, "--no-owner", f"--file={file}", f"--dbname={database.owner_url}")


async def restore(file: Path, database: Database) -> None:
    """Restores a dump into an empty database, of another cluster too, and migrates it."""
    owner = await asyncpg.connect(database.owner_url)
    try:
        if not await owner.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE):
            await owner.execute(f"CREATE ROLE {ROLE} NOLOGIN")
    finally:
        await owner.close()
    await _run(
        "pg_restore",
        "--no-owner",
        "--exit-on-error",
        "--single-transaction",
        f"--dbname={database.owner_url}",
        str(file),
    )
    await migrate(database.owner_url, LOGIN)


def traces(marker: str, *places: Path) -> list[Path]:
    """The files in which a text stands: as it is, in hex, as dumps have bytes, or within a zstd frame, as the
    log has the bodies of attachments."""
    wanted = marker.encode(), marker.encode().hex().encode()
    return [
        path
        for path in _files(*places)
        if any(text in part for part in _parts(path.read_bytes()) for text in wanted)
    ]


def _parts(content: bytes) -> Iterator[bytes]:
    """The content, and what is packed in it."""
    yield content
    for frame in ZSTD.finditer(content):
        with suppress(zstandard.ZstdError):
            packed = content[frame.start() : frame.start() + FRAME_BYTES]
            yield zstandard.ZstdDecompressor().decompressobj().decompress(packed)


def _files(*places: Path) -> Iterator[Path]:
    for place in places:
        yield from (place,) if place.is_file() else (path for path in place.rglob("*") if path.is_file())


async def _run(program: str, *arguments: str) -> None:
    running = await asyncio.create_subprocess_exec(
        programs_folder() / program, *arguments, env=environment(), stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        _, said = await running.communicate()
    assert running.returncode == 0, said.decode()
