"""What can be dropped comes back from the log alone: the same rows, no line lost, none that runs twice."""

import random
from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.batch import Batch, BatchExpiryReached, BatchFinalizing
from events.catalog import kind_of, new_event
from events.errors import DatabaseUnavailable
from events.event import NewEvent
from events.file import File
from events.key import Key, KeyCreated, KeyRevoked
from events.log import Row
from events.outcomes.lines import unpack_facts
from events.reads import ContentRead, reads_stream
from events.rebuild import Rebuilt, rebuild
from events.rebuild_board import CHUNK, RebuiltBoard, open_chunks, rebuild_board
from events.upload import UploadCancelled, UploadCreated, UploadPartAdded
from events.webhooks.endpoint import WebhookEndpointCreated, WebhookEndpointDeleted
from events.webhooks.secret import SecretTrace
from tests.events.stage import PROJECT, Stage, flush_of, open_stage
from tests.postgres import Database

ROWS = "SELECT * FROM read_models ORDER BY id"
REBUILDABLE = "read_models, batch_work, claims, workers, leaderships, checkpoints"


@given(st.lists(st.booleans(), max_size=3 * CHUNK))
def test_chunks_hold_every_open_line_once_and_are_no_longer_than_they_may(done: list[bool]) -> None:
    held: list[int] = []
    for first, bits in open_chunks(bytes(done)):
        assert 1 <= len(bits) <= CHUNK
        assert (bits[0], bits[-1]) == ("0", "0")
        assert [bit == "1" for bit in bits] == done[first : first + len(bits)]
        held += [first + n for n, bit in enumerate(bits) if bit == "0"]
    assert held == [line for line, is_done in enumerate(done) if not is_done]


async def drop_everything(database: Database) -> None:
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(f"TRUNCATE {REBUILDABLE} RESTART IDENTITY")
    await owner.close()


async def rows(stage: Stage) -> list[dict[str, object]]:
    async with stage.database.reading() as connection:
        return [dict(row) for row in await connection.fetch(ROWS)]


async def project_all(stage: Stage) -> None:
    """Moves every row to the head of its stream, as the projector does."""
    for row in await rows(stage):
        kind = kind_of(str(row["id"]))
        assert kind is not None
        await stage.project(kind, str(row["id"]))


def same_rows(before: Sequence[dict[str, object]], after: Sequence[dict[str, object]]) -> bool:
    """Whether rows are equal to the byte. A row made live has the moment its append began, a rebuilt one
    that of its first event: the same but for the wait in between."""
    for old, new in zip(before, after, strict=True):
        was, now = old.pop("created_at"), new.pop("created_at")
        assert isinstance(was, datetime)
        assert isinstance(now, datetime)
        assert 0 <= (now - was).total_seconds() < 60
    return list(before) == list(after)


def counts(made: Rebuilt) -> Rebuilt:
    return msgspec.structs.replace(made, swapped_in=0.0)


async def lines_recorded(stage: Stage, batch_id: str) -> list[int]:
    facts = await stage.log.facts(batch_id, limit=10_000)
    return [line for _, _, column in facts for line in unpack_facts(column).lines]


async def some_history(stage: Stage, dice: random.Random) -> list[str]:
    """Batches in every state with some of their lines recorded; files, uploads, keys and endpoints that come
    and go."""
    keys = [f"key_{n}" for n in range(3)]
    for n, key in enumerate(keys):
        created = KeyCreated(f"{n:064x}", "…", "ci")
        await stage.log.append(
            [new_event(key, PROJECT, created)], rows=[Row("key", key, PROJECT, label=created.sha256)]
        )
    await stage.log.append([new_event(keys[0], PROJECT, KeyRevoked())])
    files = [await stage.file(project=dice.choice(["default", "other"])) for _ in range(4)]
    await stage.delete_file(files[0])
    for upload in ("upload_1", "upload_2"):
        started = UploadCreated("in.jsonl", "batch", "application/jsonl", 10)
        await stage.log.append([new_event(upload, PROJECT, started)], rows=[Row("upload", upload, PROJECT)])
        part = UploadPartAdded("part_1", 10, "00" * 32, "uploads/1")
        await stage.log.append([new_event(upload, PROJECT, part)])
    ended = Row("upload", "upload_2", PROJECT, hidden=True)
    await stage.log.append([new_event("upload_2", PROJECT, UploadCancelled())], rows=[ended])
    for endpoint in ("we_1", "we_2"):
        made = WebhookEndpointCreated(
            "n", "https://a.example/", ("batch.failed",), SecretTrace("0", "1", "2")
        )
        await stage.log.append(
            [new_event(endpoint, PROJECT, made)], rows=[Row("webhook_endpoint", endpoint, PROJECT)]
        )
    gone = Row("webhook_endpoint", "we_2", PROJECT, hidden=True)
    await stage.log.append([new_event("we_2", PROJECT, WebhookEndpointDeleted())], rows=[gone])
    batches = [await stage.new_batch(files[1])]
    for _ in range(6):
        total = dice.randint(1, 900)
        batch_id = await stage.running_batch(total)
        batches.append(batch_id)
        edges = sorted({0, *(dice.randint(1, total) for _ in range(5))})
        claims = await stage.claims(batch_id, edges)
        for claim in dice.sample(claims, dice.randint(0, len(claims))):
            lines = dice.sample(claim.open_lines(), dice.randint(1, claim.lines))
            await stage.log.flush([flush_of(claim, lines)])
        if dice.random() < 0.5:
            await stage.project(Batch, batch_id)
    read = new_event(reads_stream(PROJECT), PROJECT, ContentRead(files[1], "bytes", 0, 1000))
    await stage.log.append([read])
    await stage.cancel(batches[1])
    await stage.log.append([new_event(batches[2], PROJECT, BatchExpiryReached())])
    await stage.finalize(batches[3])
    await stage.finalize(batches[4])
    await stage.complete(batches[4], files[2], None)
    return batches


PHASES = ["planning", "stopping", "stopping", "finalizing", None, "running", "running"]


@pytest.mark.parametrize("seed", range(4))
async def test_what_was_dropped_comes_back_as_it_was(database: Database, stage: Stage, seed: int) -> None:
    batches = await some_history(stage, random.Random(seed))
    await project_all(stage)
    before = await rows(stage)
    board = {batch.batch_id: batch for batch in await stage.board.open_batches()}
    await drop_everything(database)

    made, made_board = await rebuild(database.app_url), await rebuild_board(database.app_url)

    assert same_rows(before, await rows(stage))
    assert (made.batches, made.files, made.keys, made.uploads) == (7, 4, 3, 2)
    assert (made.webhook_endpoints, made_board.batches) == (2, 6)
    assert (made.parked, made.unknown, made.events) == (0, 0, await stage.log.head())
    after = {batch.batch_id: batch for batch in await stage.board.open_batches()}
    assert [after[b].phase if b in after else None for b in batches] == PHASES
    for batch_id, batch in after.items():
        was = board[batch_id]
        assert (batch.project_id, batch.input_file_id, batch.model) == (
            was.project_id,
            was.input_file_id,
            was.model,
        )
        assert batch.total == was.total
        assert abs(batch.expires_in - was.expires_in) < 60
        assert batch.held == 0
        assert (batch.stop_in is not None) == (batch.phase == "stopping")
    assert await stage.models.checkpoint("projector") == await stage.log.head()


@pytest.mark.parametrize("seed", range(4, 8))
@pytest.mark.parametrize("how", ["everything was dropped", "nothing was dropped"])
async def test_no_line_is_lost_and_none_can_run_twice(
    database: Database, stage: Stage, seed: int, how: str
) -> None:
    dice = random.Random(seed)
    batch_id = await stage.running_batch(lines=1_500)
    claims = await stage.claims(batch_id, [0, 200, 456, 700, 701, 957])
    for claim in claims[:4]:
        await stage.log.flush(
            [flush_of(claim, dice.sample(claim.open_lines(), dice.randint(1, claim.lines)))]
        )
    recorded = await lines_recorded(stage, batch_id)
    if how == "everything was dropped":
        await drop_everything(database)

    await rebuild(database.app_url)
    await rebuild_board(database.app_url)

    for claim in claims:
        still_open = [line for line in claim.open_lines() if line not in recorded]
        if still_open:
            assert await stage.log.flush([flush_of(claim, still_open[:1])]) == ["lost"]
    worker = await stage.worker()
    [batch] = await stage.board.open_batches()
    assert batch.next_line == max(recorded) + 1
    assert batch.lines_left == 1_500 - len(recorded)
    runnable = list(range(batch.next_line, batch.total))
    for work in await stage.board.free_claims(1_000):
        restored = await stage.board.claim(work.claim_id, worker)
        assert restored is not None
        runnable += restored.open_lines()
        await stage.log.flush([flush_of(restored, restored.open_lines())])
    assert sorted(runnable + recorded) == list(range(1_500))
    rest = await stage.claims(batch_id, [batch.next_line, 1_500], worker)
    await stage.log.flush([flush_of(claim, claim.open_lines()) for claim in rest])
    assert sorted(await lines_recorded(stage, batch_id)) == list(range(1_500))
    assert (await stage.batch(batch_id)).completed == 1_500


async def test_a_rebuilt_system_goes_on_as_if_nothing_had_happened(database: Database, stage: Stage) -> None:
    leader = await stage.lead()
    batch_id = await stage.running_batch(lines=10)
    assert counts(await rebuild(database.app_url)) == counts(await rebuild(database.app_url))
    assert await rebuild_board(database.app_url) == await rebuild_board(database.app_url)
    await stage.log.append([new_event(batch_id, PROJECT, BatchFinalizing("done"))], leadership=leader)
    assert (await stage.batch(batch_id)).finalizing == "done"
    file = await stage.file()
    assert (await stage.models.get(File, file)).state.gone is False


async def test_a_stream_that_cannot_be_folded_is_parked_and_kept_off_the_board(
    database: Database, stage: Stage
) -> None:
    batch_id, other = await stage.running_batch(lines=10), await stage.running_batch(lines=10)
    await stage.log.append([NewEvent(uuid4(), batch_id, PROJECT, "BatchTeleported", "{}")])
    await stage.log.append([NewEvent(uuid4(), "planet_1", PROJECT, "PlanetFound", "{}")])
    await project_all(stage)
    before = await rows(stage)
    made = await rebuild(database.app_url)
    assert same_rows(before, await rows(stage))
    assert (made.parked, made.unknown) == (1, 1)
    assert await rebuild_board(database.app_url) == RebuiltBoard(batches=1, chunks=0, parked=1)
    assert [batch.batch_id for batch in await stage.board.open_batches()] == [other]
    seen = await stage.models.get(Batch, batch_id)
    assert seen.state.status == "in_progress"
    assert "BatchTeleported" in (seen.parked or "")


async def test_a_revoked_key_stays_revoked(database: Database, stage: Stage) -> None:
    await some_history(stage, random.Random(1))
    await rebuild(database.app_url)
    assert await stage.models.key_of(f"{0:064x}") is None
    key = await stage.models.key_of(f"{1:064x}")
    assert key is not None
    assert isinstance(key.state, Key)


async def test_an_empty_log_rebuilds_to_nothing(database: Database) -> None:
    assert counts(await rebuild(database.app_url)) == Rebuilt(0, 0, 0, 0, 0, 0, 0, 0)
    assert await rebuild_board(database.app_url) == RebuiltBoard(0, 0, 0)


async def test_a_rebuild_without_its_database_says_so(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        await rebuild(database.app_url.replace(database.name, "batchmill_nowhere"))


async def test_readers_see_the_old_board_while_it_is_made_again(database: Database, stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=1)
    pausing = await asyncpg.connect(database.app_url)
    async with pausing.transaction(), open_stage(database.app_url) as reading:
        await pausing.execute(f"LOCK TABLE {REBUILDABLE} IN EXCLUSIVE MODE")
        assert (await reading.batch(batch_id)).status == "in_progress"
        assert len((await reading.models.page(Batch, PROJECT)).objects) == 1
        assert len(await reading.board.open_batches()) == 1
    await pausing.close()
