"""The log stays as it is under the hands of who owns its tables, too, until the triggers are taken away."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.events.stage import Stage, flush_of
from tests.postgres import Database

CHANGES = {
    "events": "data = ''",
    "attachments": "body = ''",
    "incarnations": "reason = ''",
    "signed_checkpoints": "note = ''",
    "segments": "name = ''",
    "segment_streams": "stream_id = ''",
}
REMEDIES = {
    "events": "Delete files by the API",
    "attachments": "batchmill files delete",
    "incarnations": "batchmill log fork",
    "signed_checkpoints": "batchmill log fork",
    "segments": "part of the log",
    "segment_streams": "part of the log",
}


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A session of the owner's."""
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


async def ended_batch(stage: Stage) -> tuple[str, str]:
    """A batch of one line that has ended, and its output file."""
    batch_id, output_id = await stage.running_batch(lines=1), await stage.file()
    assert await stage.log.flush([flush_of(await stage.claim(batch_id, lines=1), [0])]) == ["recorded"]
    await stage.finalize(batch_id)
    await stage.complete(batch_id, output_id)
    return batch_id, output_id


async def counts(connection: asyncpg.Connection) -> list[int]:
    return [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in CHANGES]


@pytest.mark.parametrize("table", CHANGES)
async def test_a_slip_of_the_owner_is_refused_and_told_what_to_do(
    stage: Stage, owner: asyncpg.Connection, table: str
) -> None:
    await ended_batch(stage)
    before = await counts(owner)
    for change in (
        f"UPDATE {table} SET {CHANGES[table]}",
        f"UPDATE {table} SET {CHANGES[table]} WHERE false",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
        f"TRUNCATE {table} CASCADE",
    ):
        with pytest.raises(asyncpg.PostgresError, match=f"of {table} is refused") as refused:
            await owner.execute(change)
        assert refused.value.sqlstate == "BM005"
        assert REMEDIES[table] in str(refused.value.hint)
    assert await counts(owner) == before


async def test_erase_passes_and_leaves_nothing_open_behind_it(
    stage: Stage, owner: asyncpg.Connection
) -> None:
    batch_id, output_id = await ended_batch(stage)
    await stage.delete_file(output_id)
    for table in CHANGES:
        in_one_transaction = f"SELECT erase('{batch_id}', '{output_id}'); DELETE FROM {table}"
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await owner.execute(in_one_transaction)
    assert await stage.log.erase(batch_id, output_id) == 1


async def test_an_append_fires_no_trigger(owner: asyncpg.Connection) -> None:
    on_insert = await owner.fetchval(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = ANY ($1::regclass[]) AND tgtype & 4 > 0",
        list(CHANGES),
    )
    assert on_insert == 0
