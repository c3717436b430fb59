"""Appending: dense positions, versions, decisions that conflict and facts that do not, safe repetition."""

import asyncio
from collections.abc import Iterator
from typing import Literal
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from events import failpoint
from events.catalog import new_event
from events.errors import (
    BatchmillError,
    DatabaseUnavailable,
    EventMismatch,
    LeadershipLost,
    LogBusy,
    VersionConflict,
)
from events.event import Attachment, NewEvent, event_digest
from events.failpoint import FailpointRaised
from events.log import Board, Leadership, Row
from events.postgres_log import recorded_event
from tests.events.proxy import proxy_to
from tests.events.stage import PROJECT, Stage, attachment_of, batch_created, flush_of, open_stage
from tests.postgres import Database

WAYS_TO_THE_DATABASE = ("direct", "pgbouncer")


@pytest.fixture
def _disarm() -> Iterator[None]:
    yield
    failpoint.arm("")


def fact(stream: str = "batch_1", **changes: object) -> NewEvent:
    """Some event."""
    event = NewEvent(uuid4(), stream, PROJECT, "BatchStarted", '{"total":1,"model":"m"}')
    return msgspec.structs.replace(event, **changes)


async def test_positions_are_dense_and_versions_count_each_stream(stage: Stage) -> None:
    assert await stage.log.head() == 0
    assert await stage.log.append([fact("batch_1"), fact("batch_2"), fact("batch_1")]) == [1, 2, 3]
    assert await stage.log.append([fact("batch_2")]) == [4]
    events = await stage.log.read(after=0)
    assert [(e.position, e.stream_id, e.version) for e in events] == [
        (1, "batch_1", 1),
        (2, "batch_2", 1),
        (3, "batch_1", 2),
        (4, "batch_2", 2),
    ]
    assert await stage.log.head() == 4
    assert await stage.log.read(after=2, limit=1) == events[2:3]
    assert await stage.log.stream("batch_1") == [events[0], events[2]]
    assert await stage.log.stream("batch_1", after=1) == [events[2]]


async def test_a_refused_append_leaves_no_gap(stage: Stage) -> None:
    await stage.log.append([fact()])
    with pytest.raises(VersionConflict):
        await stage.log.append([fact()], expect={"batch_1": 0})
    assert await stage.log.append([fact()]) == [2]


async def test_a_stream_that_must_be_new_is_made_once(stage: Stage) -> None:
    await stage.log.append([fact("batch_1")], expect={"batch_1": 0})
    with pytest.raises(VersionConflict) as refused:
        await stage.log.append([fact("batch_1")], expect={"batch_1": 0})
    conflict = refused.value
    assert (conflict.stream_id, conflict.expected, conflict.actual) == ("batch_1", 0, 1)


async def test_only_one_of_many_decisions_on_one_version_is_recorded(stage: Stage) -> None:
    await stage.log.append([fact("batch_1")])
    results = await asyncio.gather(
        *(stage.log.append([fact("batch_1")], expect={"batch_1": 1}) for _ in range(12)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, list) for result in results) == 1
    assert sum(isinstance(result, VersionConflict) for result in results) == 11


async def test_a_decision_may_depend_on_a_stream_that_it_does_not_write(stage: Stage) -> None:
    await stage.log.append([fact("file-1")])
    await stage.log.append([fact("batch_1")], expect={"batch_1": 0, "file-1": 1})
    await stage.log.append([fact("file-1")])
    with pytest.raises(VersionConflict, match="file-1 is at version 2, expected 1"):
        await stage.log.append([fact("batch_2")], expect={"batch_2": 0, "file-1": 1})


async def test_a_version_from_the_future_is_a_conflict(stage: Stage) -> None:
    with pytest.raises(VersionConflict):
        await stage.log.append([fact("batch_1")], expect={"batch_1": 3})


async def test_recorded_outcomes_never_defeat_a_decision(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=4)
    claims = await stage.claims(batch_id, [0, 2, 4])
    await stage.log.flush([flush_of(claim, claim.open_lines()) for claim in claims])
    await stage.cancel(batch_id, version=2)
    events = await stage.log.stream(batch_id, after=2)
    assert [e.type for e in events] == ["LinesCompleted", "LinesCompleted", "BatchCancelRequested"]
    with pytest.raises(VersionConflict, match="at version 5, expected 4"):
        await stage.cancel(batch_id, version=4)


async def test_a_repeated_append_answers_as_the_first_and_records_nothing(stage: Stage) -> None:
    events = [fact("batch_1", attachments=(Attachment(b"index"),)), fact("file-1")]
    call = {"rows": [Row("batch", "batch_1", PROJECT)], "expect": {"batch_1": 0}}
    first = await stage.log.append(events, **call)  # type: ignore[arg-type]  # the arguments of one call
    await stage.log.append([fact("batch_1")])
    assert await stage.log.append(events, **call) == first  # type: ignore[arg-type]
    assert await stage.log.head() == 3


async def test_a_repeated_append_may_come_from_another_request(stage: Stage) -> None:
    event = fact()
    await stage.log.append([event])
    again = msgspec.structs.replace(event, metadata='{"request":"2"}')
    assert await stage.log.append([again]) == [1]
    assert (await stage.log.read(after=0))[0].metadata == "{}"


@pytest.mark.parametrize(
    "change",
    [
        {"data": '{"total":2,"model":"m"}'},
        {"type": "BatchFailed"},
        {"lines": b"x"},
        {"attachments": (Attachment(b"x"),)},
    ],
)
async def test_an_event_id_stands_for_one_content(stage: Stage, change: dict[str, object]) -> None:
    event = fact()
    await stage.log.append([event])
    with pytest.raises(EventMismatch, match=str(event.event_id)):
        await stage.log.append([msgspec.structs.replace(event, **change)])
    assert await stage.log.head() == 1


async def test_an_event_id_cannot_move_to_another_append(stage: Stage) -> None:
    event = fact()
    await stage.log.append([event])
    for other in ([event, fact()], [fact(), event]):
        with pytest.raises(EventMismatch):
            await stage.log.append(other)
    assert await stage.log.head() == 1


async def test_one_append_sent_many_times_at_once_is_recorded_once(stage: Stage) -> None:
    events = [fact("batch_1", attachments=(Attachment(b"index"),)), fact("file-1")]
    row = [Row("batch", "batch_1", PROJECT)]
    answers = await asyncio.gather(*(stage.log.append(events, rows=row) for _ in range(8)))
    assert answers == [[1, 2]] * 8
    assert await stage.log.head() == 2


@pytest.mark.parametrize("point", ["append.before", "append.after"])
@pytest.mark.usefixtures("_disarm")
async def test_an_append_that_broke_is_repeated_without_harm(stage: Stage, point: str) -> None:
    event = fact()
    failpoint.arm(f"{point}=raise")
    with pytest.raises(FailpointRaised):
        await stage.log.append([event])
    assert await stage.log.append([event]) == [1]
    assert await stage.log.head() == 1


@pytest.mark.parametrize("lost", ["call", "answer"])
async def test_a_lost_call_or_answer_is_repeated_without_harm(database: Database, lost: str) -> None:
    async with proxy_to(database.app_url) as proxy, open_stage(proxy.url, connections=2) as stage:
        await stage.log.append([fact("batch_0")])
        event = fact("batch_1")
        cut = proxy.cut_next("answer" if lost == "answer" else "call")
        with pytest.raises(DatabaseUnavailable):
            await stage.log.append([event], expect={"batch_1": 0})
        assert cut.is_set()
        assert await stage.log.append([event], expect={"batch_1": 0}) == [2]
        assert await stage.log.head() == 2


async def test_a_creation_writes_its_row_and_its_place_on_the_board_in_the_same_transaction(
    stage: Stage,
) -> None:
    batch_id = await stage.new_batch()
    assert (await stage.batch(batch_id)).status == "validating"
    [batch] = await stage.board.open_batches()
    assert (batch.batch_id, batch.phase, batch.total) == (batch_id, "planning", 0)
    with pytest.raises(VersionConflict):
        await stage.log.append(
            [new_event("batch_2", PROJECT, batch_created())],
            rows=[Row("batch", "batch_2", PROJECT)],
            board=Board("batch_2", PROJECT, "planning"),
            expect={"batch_2": 1},
        )
    assert len(await stage.board.open_batches()) == 1


async def test_a_decision_revokes_every_claim_of_its_batch_and_of_no_other(stage: Stage) -> None:
    one, other = await stage.running_batch(lines=4), await stage.running_batch(lines=4)
    claim, kept = await stage.claim(one, 4), await stage.claim(other, 4)
    await stage.finalize(one)
    assert await stage.log.flush([flush_of(claim, [0]), flush_of(kept, [0])]) == ["lost", "recorded"]
    assert (await stage.batch(one)).completed == 0


async def test_an_ended_batch_is_off_the_board(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=1)
    await stage.finalize(batch_id)
    await stage.complete(batch_id, None)
    assert await stage.board.open_batches() == []


async def test_only_who_leads_appends_as_the_leader(stage: Stage) -> None:
    leader = await stage.lead()
    await stage.log.append([fact()], leadership=leader)
    with pytest.raises(LeadershipLost):
        await stage.log.append([fact()], leadership=Leadership(leader.name, uuid4()))
    successor = await stage.lead()
    with pytest.raises(LeadershipLost):
        await stage.log.append([fact()], leadership=leader)
    await stage.log.append([fact()], leadership=successor)
    assert await stage.log.head() == 2


@pytest.mark.parametrize(
    "data",
    [
        '{ "total" : 1,\n\t"total":2, "model":"é\U0001f9ea\\u0000\\ud800" , "n":1e400}',
        "{}",
        '{"a":"\\u2028\u2028","b":0.10}',
    ],
)
async def test_data_is_kept_to_the_byte(stage: Stage, data: str) -> None:
    await stage.log.append([fact(data=data, metadata=data)])
    [event] = await stage.log.read(after=0)
    assert (event.data, event.metadata) == (data, data)


@pytest.mark.parametrize("data", ['{"a":"\x00"}', '{"a":"\ud800"}'])
async def test_text_that_postgres_cannot_hold_is_refused_and_leaves_no_trace(stage: Stage, data: str) -> None:
    with pytest.raises((asyncpg.DataError, UnicodeEncodeError)):
        await stage.log.append([fact(data=data)], rows=[Row("batch", "batch_1", PROJECT)])
    assert await stage.log.append([fact()]) == [1]


async def test_python_and_sql_agree_on_every_digest(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=3)
    claim = await stage.claim(batch_id, 3)
    await stage.log.flush([flush_of(claim, [0, 2])])
    await stage.log.append([fact("batch_é", project_id="größe", metadata='{"actor":"\U0001f9ea"}')])
    async with stage.database.reading() as connection:
        rows = await connection.fetch("SELECT *, content_digest, digest FROM events ORDER BY position")
        bodies = await connection.fetch("SELECT * FROM attachments")
    assert len(rows) == 4
    for row in rows:
        parts = [Attachment(b["body"], b["salt"]) for b in bodies if b["event_id"] == row["event_id"]]
        event = NewEvent(
            row["event_id"],
            row["stream_id"],
            row["project_id"],
            row["type"],
            row["data"],
            row["metadata"],
            row["lines"],
            tuple(parts),
        )
        assert row["attachments"] == event.attachment_digests
        assert row["content_digest"] == event.content_digest()
        assert row["digest"] == event_digest(recorded_event(row), event.content_digest())


async def test_attachments_come_back_as_they_went(stage: Stage) -> None:
    event = fact(attachments=tuple(Attachment(bytes([n]) * 5_000) for n in range(3)))
    await stage.log.append([event])
    for ordinal, attachment in enumerate(event.attachments):
        assert await attachment_of(stage.database, event.event_id, ordinal) == attachment
    assert await attachment_of(stage.database, event.event_id, 3) is None


async def test_every_answer_is_small_enough_to_leave_before_the_commit(stage: Stage) -> None:
    events = [fact(f"batch_{n}") for n in range(300)]
    async with stage.database.reading() as connection:
        await stage.log.append(events)
        size = await connection.fetchval(
            "SELECT length(array_agg(position)::text) FROM events WHERE position <= 300"
        )
    assert size < 8_000


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
@pytest.mark.parametrize("call", ["append(" + "NULL, " * 19 + "NULL)", "flush(" + "'{}', " * 13 + "'{}')"])
async def test_an_isolation_that_would_not_see_the_last_commit_is_refused(
    stage: Stage, call: str, isolation: Literal["repeatable_read", "serializable"]
) -> None:
    async with stage.database.writing() as connection, connection.transaction(isolation=isolation):
        with pytest.raises(asyncpg.PostgresError, match="READ COMMITTED only"):
            await connection.fetchval(f"SELECT {call}")


async def test_an_append_that_waits_too_long_says_so_and_appends_nothing(database: Database) -> None:
    async with open_stage(database.app_url, connections=2) as stage:
        holder = await asyncpg.connect(database.owner_url)
        try:
            async with holder.transaction():
                await holder.execute("SELECT lock_log()")
                async with stage.database.writing() as connection:
                    await connection.execute("SET lock_timeout = '50ms'")
                with pytest.raises(LogBusy, match="safe to repeat"):
                    await stage.log.append([fact()])
        finally:
            await holder.close()
        assert await stage.log.append([fact()]) == [1]


async def test_bodies_are_erased_only_when_the_batch_ended_and_its_file_is_gone(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=2)
    claim = await stage.claim(batch_id, 2)
    flush = flush_of(claim, [0, 1])
    await stage.log.flush([flush])
    output, errors = await stage.file(), await stage.file()
    with pytest.raises(BatchmillError, match="nothing may be erased"):
        await stage.log.erase(batch_id, output)
    await stage.finalize(batch_id)
    await stage.complete(batch_id, output, errors)
    with pytest.raises(BatchmillError, match="nothing may be erased"):
        await stage.log.erase(batch_id, output)
    await stage.delete_file(errors)
    with pytest.raises(BatchmillError, match="nothing may be erased"):
        await stage.log.erase(batch_id, errors)
    await stage.delete_file(output)
    digest = flush.event.attachment_digests
    assert await stage.log.erase(batch_id, output) == 1
    assert await attachment_of(stage.database, flush.event.event_id) is None
    assert await stage.log.erase(batch_id, output) == 0
    async with stage.database.reading() as connection:
        kept = await connection.fetchval(
            "SELECT attachments FROM events WHERE event_id = $1", flush.event.event_id
        )
    assert kept == digest


async def test_where_there_is_no_output_the_bodies_live_as_long_as_the_error_file(stage: Stage) -> None:
    batch_id = await stage.running_batch(lines=1)
    await stage.log.flush([flush_of(await stage.claim(batch_id, 1), [0])])
    errors = await stage.file()
    await stage.finalize(batch_id)
    await stage.complete(batch_id, None, errors)
    await stage.delete_file(errors)
    assert await stage.log.erase(batch_id, errors) == 1
