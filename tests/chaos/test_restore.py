"""A backup, made in the middle of a batch, is restored into a fresh cluster: the batch goes on and ends."""

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from events.audit.checkpoint import parse_checkpoint
from events.audit.note import PrivateKey, parse_notes
from tests.backup import dump, restore
from tests.chaos.checker import Kill, broken_promises, results_of
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import BOUND, PATIENCE, mill, polling
from tests.chaos.witness import story_of, with_models
from tests.postgres import Database
from tests.postgres_node import running_postgres
from tests.serve_process import ran
from tests.upstream import LedgerUpstream

LINES: Final = 300
DUMPED_AT: Final = 60


def settings_of(database: Database, files: Path, key: Path, witness: Path) -> dict[str, str]:
    return {
        "database_url": database.app_url,
        "database_owner_url": database.owner_url,
        "storage_url": files.as_uri(),
        "audit_key_file": str(key),
        "audit_witnesses": str(witness),
        "concurrency": "4",
        "chunk_lines": "16",
    }


async def head_of(database: Database) -> int:
    """The last position of a log."""
    connection = await asyncpg.connect(database.app_url)
    try:
        return int(await connection.fetchval("SELECT max(position) FROM events"))
    finally:
        await connection.close()


def told_of(witness: Path) -> int:
    """How much of a log a witness was told of."""
    notes = parse_notes(witness.read_text()) if witness.exists() else []
    return max((parse_checkpoint(note.text).size for note in notes), default=0)


async def until_sealed(witness: Path, position: int) -> None:
    """Returns when a witness was told of more of the log than that."""
    async with asyncio.timeout(BOUND):
        while told_of(witness) <= position:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(PATIENCE)


async def command(settings: Mapping[str, str], *arguments: str) -> str:
    """What a command answers that must succeed."""
    environment = {f"BATCHMILL_{name.upper()}": value for name, value in settings.items()}
    done = await asyncio.to_thread(ran, *arguments, settings=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.soak
async def test_a_batch_goes_on_from_a_backup_in_a_fresh_cluster(
    tmp_path: Path, upstream: LedgerUpstream, ledger: Path, database: Database
) -> None:
    upstream.latency = 0.1
    key, witness = tmp_path / "key", tmp_path / "witness"
    key.write_text(PrivateKey.fresh("mill").text + "\n")
    before, lines = fresh_names(5), fresh_names(LINES)
    files, copy, dumped = tmp_path / "files", tmp_path / "copy", tmp_path / "dump"

    async with mill(tmp_path / "lost", upstream.url, **settings_of(database, files, key, witness)) as first:
        async with polling(first, await first.submit(batch_of(before))) as polls:
            ended = await polls.until_ended()
        output = await first.content(ended["output_file_id"])
        batch_id = await first.submit(batch_of(lines))
        async with polling(first, batch_id) as polls:
            await polls.until_done(DUMPED_AT)
            await dump(database, dumped)
            await until_sealed(witness, await head_of(database))
            shutil.copytree(files, copy)
        kill = Kill(await first.kill())
    for result in (copy / "results").iterdir():  # as if storage were older than the database
        result.unlink()

    async with running_postgres() as fresh:
        await restore(dumped, fresh.database)
        assert await head_of(fresh.database) < told_of(witness)
        settings = settings_of(fresh.database, copy, key, tmp_path / "witness-after")
        async with mill(tmp_path / "restored", upstream.url, **settings) as restored:
            refused = json.loads(await restored.until_said("the log is not sealed"))
            assert "batchmill log fork" in refused["reason"]
            begun = json.loads(await command(settings, "log", "fork", "--reason", "restored", "--json"))
            await restored.until_said(f"batchmill/{begun['incarnation']}")
            lost = json.loads(await command(settings, "log", "files", "--make-again", "--json"))
            assert [(file["id"], file["state"]) for file in lost] == [(ended["output_file_id"], "made_again")]
            assert await restored.content(ended["output_file_id"]) == output

            async with polling(restored, batch_id) as polls:
                story = await story_of(restored, polls, lines, ledger, [kill])
            story = await with_models(story, fresh.database.app_url, restored.files)
            assert broken_promises(story) == []
            assert len(results_of(story.output)) == LINES
            await command(settings, "audit", "verify")
