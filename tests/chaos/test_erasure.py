"""What is deleted is gone, byte by byte: from the database, from storage, from the logs; the proof stays."""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from events.audit.note import PrivateKey
from events.encryption.wrapping_key import WrappingKey
from events.outcomes.lines import unpack_block
from tests.backup import dump, traces
from tests.chaos.inputs import batch_of
from tests.chaos.mill import BOUND, PATIENCE, Mill, mill, polling
from tests.chaos.witness import remains_of
from tests.postgres import Database
from tests.serve_process import ran
from tests.upstream import LedgerUpstream

LINES: Final = 12


async def bodies(database: Database) -> list[bytes]:
    """Every body in the log, unpacked."""
    connection = await asyncpg.connect(database.app_url)
    try:
        rows = await connection.fetch(
            "SELECT body FROM attachments a JOIN events e USING (event_id) WHERE e.type = 'LinesCompleted'"
        )
    finally:
        await connection.close()
    return [unpack_block(row["body"]) for row in rows]


async def ended(serving: Mill, lines: list[str]) -> dict[str, str]:
    """A batch that has completed, of which some lines failed."""
    batch_id = await serving.submit(batch_of(lines, {lines[3]: "400", lines[7]: "html"}))
    async with polling(serving, batch_id) as polls:
        batch = await polls.until_ended()
    assert batch["output_file_id"]
    assert batch["error_file_id"]
    return batch


@pytest.mark.soak
async def test_a_deleted_text_is_nowhere_and_the_log_still_proves_what_happened(
    tmp_path: Path, upstream: LedgerUpstream, database: Database
) -> None:
    marker = f"marker{secrets.token_hex(8)}"
    key, files = tmp_path / "key", tmp_path / "files"
    key.write_text(PrivateKey.fresh("mill").text + "\n")
    settings = {
        "database_url": database.app_url,
        "database_owner_url": database.owner_url,
        "storage_url": files.as_uri(),
        "audit_key_file": str(key),
        "log_level": "debug",
        "attempts": "1",
    }
    environment = {f"BATCHMILL_{name.upper()}": value for name, value in settings.items()}
    async with mill(tmp_path / "data", upstream.url, **settings) as serving:
        first = await ended(serving, [f"line-{marker}-a-{n}" for n in range(LINES)])
        second = await ended(serving, [f"line-{marker}-b-{n}" for n in range(LINES)])
        assert len(traces(marker, files)) == 6  # so they are found while they are there
        assert any(marker.encode() in body for body in await bodies(database))

        for file in ("input_file_id", "output_file_id", "error_file_id"):
            await serving.delete_file(first[file])
        erased = await asyncio.to_thread(ran, "projects", "erase", "default", "--json", settings=environment)
        told = json.loads(erased.stdout)
        assert (told["files"], told["open_batches"], told["unread"]) == (3, [], [])
        async with asyncio.timeout(BOUND):
            for batch in (first, second):
                while await remains_of(serving, batch["id"]):  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(PATIENCE)

        verified = await asyncio.to_thread(ran, "audit", "verify", settings=environment)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        said = tmp_path / "said"
        said.write_text("\n".join([*serving.said, verified.stdout, verified.stderr, erased.stderr]))
    dumped = tmp_path / "dump"
    await dump(database, dumped, plain=True)
    assert first["id"].encode() in dumped.read_bytes()
    assert await bodies(database) == []
    assert traces(marker, dumped, files, said, tmp_path / "data") == []


@pytest.mark.soak
@pytest.mark.parametrize("encrypts", [True, False])
async def test_what_was_encrypted_was_never_on_a_disk_in_plain(
    tmp_path: Path, upstream: LedgerUpstream, *, encrypts: bool
) -> None:
    """Nor in the data folder of the database and its WAL, which keep for a while what was deleted; killed in
    between, too. Without encryption this finds what it looks for."""
    marker = f"marker{secrets.token_hex(8)}"
    data, key = tmp_path / "data", tmp_path / "wrapping-key"
    key.write_text(WrappingKey.fresh().text)
    settings = {"log_level": "debug", "attempts": "1"}
    if encrypts:
        settings |= {"encrypt_bodies": "true", "wrapping_key_file": str(key)}
    environment = {f"BATCHMILL_{name.upper()}": value for name, value in settings.items()}
    environment["BATCHMILL_DATA_DIR"] = str(data)
    lines = [f"line-{marker}-{n}" for n in range(4)]
    said = tmp_path / "said"
    async with mill(data, upstream.url, **settings) as serving:
        batch_id = await serving.submit(batch_of(lines, {lines[2]: "400", lines[3]: "slow 1"}))
        async with polling(serving, batch_id) as polls:
            await polls.until_done(2)
            await serving.kill()
            await serving.start()
            batch = await polls.until_ended()
        assert marker.encode() in await serving.content(batch["output_file_id"])
        assert marker.encode() in await serving.content(batch["error_file_id"])
        assert bool(traces(marker, data / "files")) is not encrypts

        told = []
        for command in (("audit", "verify"), ("projects", "erase", "default"), ("audit", "verify")):
            ended = await asyncio.to_thread(ran, *command, settings=environment)
            assert ended.returncode == 0, ended.stdout + ended.stderr
            told += [ended.stdout, ended.stderr]
        assert ("Destroyed its data key" in "".join(told)) is encrypts
        async with asyncio.timeout(BOUND):
            while await remains_of(serving, batch_id):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(PATIENCE)
        said.write_text("\n".join([*serving.said, *told]))
    assert traces(marker, data / "files", said) == []
    assert bool(traces(marker, data)) is not encrypts
