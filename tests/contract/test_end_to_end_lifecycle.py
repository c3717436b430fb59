"""A batch through its life as the SDK shows it: running, cancelled, expired, its results erased."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import msgspec
import pytest
from openai import ConflictError, NotFoundError, OpenAI
from openai.types import Batch

from events.audit import keys as audit_keys
from events.batch import LinesCompleted
from events.key import secret_digest
from events.origin import Origin
from tests.contract.mill import (
    CHAT,
    KEY,
    PATIENCE,
    SHORT,
    Embedded,
    Mill,
    Pods,
    ask,
    chat,
    joined,
    request,
    results,
    submit,
    until_ended,
)
from tests.serve_process import serve_process

T = TypeVar("T")
TIMES = (
    *("in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at"),
    *("cancelling_at", "cancelled_at"),
)
PER_LINE = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
"""What the tests' upstream says each of its answers used."""
ACTORS = {
    "KeyCreated": {"operator"},
    "AuditKeyAdopted": {"sealer"},
    "FileCreated": {"a key", "finalizer"},
    "FileDeleted": {"a key"},
    "BatchCreated": {"a key"},
    "BatchCancelRequested": {"a key"},
    "BatchStarted": {"planner"},
    "BatchFailed": {"planner"},
    "BatchExpiryReached": {"dispatcher"},
    "LinesCompleted": {"worker"},
    "BatchFinalizing": {"finalizer"},
    "BatchCompleted": {"finalizer"},
    "BatchExpired": {"finalizer"},
    "BatchCancelled": {"finalizer", "a key"},
}
"""Who causes which events."""


@pytest.fixture(scope="module")
def served(place: Embedded | Pods, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    """A mill that runs two lines at once, on an upstream that does what each line says."""
    ledger = tmp_path_factory.mktemp("upstream") / "ledger"
    with place.mill("tests.upstream", "--ledger", str(ledger), concurrency="2") as served:
        yield served


@pytest.fixture
def client(served: Mill) -> Iterator[OpenAI]:
    with OpenAI(base_url=served.url, api_key=KEY) as client:
        yield client


def until(look: Callable[[], T], reached: Callable[[T], bool]) -> T:
    """What is seen when it is reached."""
    deadline = time.monotonic() + PATIENCE
    while not reached(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen


def until_done(client: OpenAI, batch: Batch, lines: int) -> Batch:
    """The batch when so many of its lines have an outcome."""
    return until(
        lambda: client.batches.retrieve(batch.id), lambda seen: sum(counts(seen)) - counts(seen)[0] >= lines
    )


def counts(batch: Batch) -> tuple[int, int, int]:
    """Total, completed, failed."""
    told = batch.request_counts
    assert told is not None
    return told.total, told.completed, told.failed


def times(batch: Batch) -> list[str]:
    """Which of its times are set; they follow each other as they are listed, none before the creation."""
    moments = {name: getattr(batch, name) for name in TIMES if getattr(batch, name) is not None}
    assert list(moments.values()) == sorted(moments.values())
    assert all(batch.created_at <= moment for moment in moments.values())
    return list(moments)


def used(batch: Batch) -> tuple[int, int, int]:
    """Input, output and total tokens."""
    usage = batch.usage
    assert usage is not None
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (0, 0)
    return usage.input_tokens, usage.output_tokens, usage.total_tokens


def used_by(lines: int) -> tuple[int, int, int]:
    return (
        lines * PER_LINE["input_tokens"],
        lines * PER_LINE["output_tokens"],
        lines * PER_LINE["total_tokens"],
    )


def custom_ids(lines: list[dict[str, Any]]) -> list[str]:
    return [line["custom_id"] for line in lines]


def test_a_batch_tells_in_each_state_what_is_known_of_it(client: OpenAI) -> None:
    batch = submit(client, chat("line-0", "line-1 slow 1", "line-2 400"), metadata={"team": "search"})
    assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"team": "search"})
    assert (batch.endpoint, batch.completion_window) == (CHAT, "24h")
    assert batch.expires_at == batch.created_at + 86_400
    assert (counts(batch), batch.usage, batch.model, times(batch)) == ((0, 0, 0), None, None, [])

    running = until_done(client, batch, 1)
    assert (running.status, running.model) == ("in_progress", "practice")
    assert counts(running)[0] == 3
    assert used(running) == used_by(counts(running)[1])
    assert times(running) == ["in_progress_at"]
    assert (running.output_file_id, running.error_file_id) == (None, None)

    done = until_ended(client, batch)
    assert (done.status, done.model, counts(done)) == ("completed", "practice", (3, 2, 1))
    assert used(done) == used_by(2)
    assert times(done) == ["in_progress_at", "finalizing_at", "completed_at"]
    assert done.expires_at == batch.expires_at
    assert client.batches.retrieve(batch.id) == done
    with pytest.raises(ConflictError) as refused:
        client.batches.cancel(batch.id)
    assert refused.value.response.json()["error"] == {
        "message": "Cannot cancel a batch with status 'completed'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_a_cancelled_batch_keeps_its_partial_results(client: OpenAI) -> None:
    stuck = ["line-2 stall", "line-3 stall", "line-4", "line-5"]
    batch = submit(client, chat("line-0", "line-1 400", *stuck))
    until_done(client, batch, 2)
    cancelling = client.batches.cancel(batch.id)
    assert cancelling.status == "cancelling"
    assert times(cancelling) == ["in_progress_at", "cancelling_at"]
    cancelled = until_ended(client, batch)
    assert (cancelled.status, counts(cancelled)) == ("cancelled", (6, 1, 1))
    assert times(cancelled) == ["in_progress_at", "cancelling_at", "cancelled_at"]
    assert used(cancelled) == used_by(1)
    assert custom_ids(results(client, cancelled.output_file_id)) == ["line-0"]
    errors = results(client, cancelled.error_file_id)
    assert custom_ids(errors) == ["line-1", "line-2", "line-3", "line-4", "line-5"]
    assert errors[0]["response"]["status_code"] == 400
    for unrun in errors[1:]:
        assert unrun["response"] is None
        assert unrun["error"] == {
            "code": "batch_cancelled",
            "message": "This request was not executed because the batch was cancelled.",
        }
    assert client.batches.cancel(batch.id) == cancelled


def test_an_expired_batch_keeps_its_partial_results(client: OpenAI) -> None:
    stuck = ["line-1 stall", "line-2 stall", "line-3"]
    batch = submit(client, chat("line-0", *stuck), extra_body=SHORT)
    assert batch.expires_at == batch.created_at + 2
    expired = until_ended(client, batch)
    assert (expired.status, counts(expired)) == ("expired", (4, 1, 0))
    assert times(expired) == ["in_progress_at", "expired_at"]
    assert used(expired) == used_by(1)
    assert custom_ids(results(client, expired.output_file_id)) == ["line-0"]
    errors = results(client, expired.error_file_id)
    assert custom_ids(errors) == ["line-1", "line-2", "line-3"]
    assert {json.dumps(line["error"]) for line in errors} == {
        '{"code": "batch_expired", "message": '
        '"This request could not be executed before the completion window expired."}'
    }
    with pytest.raises(ConflictError, match="Cannot cancel a batch with status 'expired'"):
        client.batches.cancel(batch.id)


def test_nothing_of_a_batch_cancelled_at_once_is_left_to_run(client: OpenAI) -> None:
    batch = submit(client, chat(*["line-0 slow 0.2"] * 50))
    client.batches.cancel(batch.id)
    cancelled = until_ended(client, batch)
    assert cancelled.status == "cancelled"
    total, completed, failed = counts(cancelled)
    if total == 0:  # it was validating still
        assert (cancelled.output_file_id, cancelled.error_file_id) == (None, None)
        assert times(cancelled) == ["cancelling_at", "cancelled_at"]
    else:
        assert (total, failed) == (50, 0)
        assert completed <= 4
        assert len(results(client, cancelled.error_file_id)) == 50 - completed


def test_the_input_may_be_deleted_while_its_batch_runs(client: OpenAI, served: Mill) -> None:
    content = chat("line-0 slow 0.5", *(f"line-{n} unlike any other input" for n in range(1, 9)))
    batch = submit(client, content)
    assert stored_like(served, content) == 1
    client.files.delete(batch.input_file_id)
    with pytest.raises(NotFoundError):
        client.files.retrieve(batch.input_file_id)
    done = until_ended(client, batch)
    assert (done.status, counts(done)) == ("completed", (9, 9, 0))
    assert until(lambda: stored_like(served, content), lambda found: found == 0) == 0


def stored_like(served: Mill, content: bytes) -> int:
    """How many stored objects hold exactly this."""
    return sum(path.read_bytes() == content for path in served.files.rglob("*") if path.is_file())


def test_deleting_the_output_file_erases_the_results_and_leaves_their_digests(
    client: OpenAI, served: Mill
) -> None:
    done = until_ended(client, submit(client, chat("line-0", "line-1 400", "line-2")))
    assert done.output_file_id is not None
    assert done.error_file_id is not None
    output = client.files.content(done.output_file_id).content
    assert stored_like(served, output) == 1
    assert asyncio.run(bodies_and_digests(served, done.id))[0] > 0

    assert client.files.delete(done.output_file_id).deleted
    until(lambda: asyncio.run(bodies_and_digests(served, done.id))[0], lambda bodies: bodies == 0)
    until(lambda: stored_like(served, output), lambda found: found == 0)
    assert asyncio.run(bodies_and_digests(served, done.id))[1] > 0
    assert client.batches.retrieve(done.id) == done
    assert custom_ids(results(client, done.error_file_id)) == ["line-1"]
    with pytest.raises(NotFoundError):
        client.files.content(done.output_file_id)
    assert done.output_file_id not in [file.id for file in client.files.list(purpose="batch_output")]


async def bodies_and_digests(served: Mill, batch_id: str) -> tuple[int, int]:
    """Of the results of a batch in the log: bodies that are there, events that keep digests of bodies."""
    connection = await asyncpg.connect(served.database)
    try:
        row = await connection.fetchrow(
            """
            SELECT count(a.event_id), count(DISTINCT e.event_id) FILTER (WHERE e.attachments IS NOT NULL)
              FROM events e LEFT JOIN attachments a ON a.event_id = e.event_id
             WHERE e.stream_id = $1 AND e.type = $2
            """,
            batch_id,
            LinesCompleted.__name__,
        )
        assert row is not None
        return int(row[0]), int(row[1])
    finally:
        await connection.close()


def test_every_event_says_whose_it_is_and_who_caused_it(client: OpenAI, served: Mill) -> None:
    """All that this module's mill recorded until now, at least one batch."""
    until_ended(client, submit(client, chat("line-0")))
    key = "key_" + secret_digest(KEY)[:24]
    for type_, project, metadata in asyncio.run(whole_log(served)):
        assert project == (audit_keys.PROJECT if type_ == "AuditKeyAdopted" else "default")
        assert KEY not in metadata
        origin = msgspec.json.decode(metadata, type=Origin)
        assert origin.actor in {key if actor == "a key" else actor for actor in ACTORS[type_]}, type_
        assert (origin.request is not None) == (origin.actor == key)
        assert (origin.process is not None) == (origin.actor not in (key, "operator"))


async def whole_log(served: Mill) -> list[tuple[str, str, str]]:
    """Type, project and metadata of every event."""
    connection = await asyncpg.connect(served.database)
    try:
        rows = await connection.fetch("SELECT type, project_id, metadata FROM events")
        return [(row["type"], row["project_id"], row["metadata"]) for row in rows]
    finally:
        await connection.close()


def test_a_list_is_walked_while_its_batches_move(client: OpenAI) -> None:
    batches = [submit(client, chat(f"line-{n} slow 0.05")) for n in range(7)]
    wanted = [batch.id for batch in reversed(batches)]
    for limit in (1, 3, 100):
        seen = [batch.id for batch in client.batches.list(limit=limit)]
        assert seen[:7] == wanted
        assert len(seen) == len(set(seen))
    first = client.batches.list(limit=2)
    assert (first.has_more, [batch.id for batch in first.data]) == (True, wanted[:2])
    for batch in batches:
        assert until_ended(client, batch).status == "completed"
    assert [batch.id for batch in client.batches.list(limit=3, after=wanted[3])][:3] == wanted[4:]
    listed = {batch.id: batch for batch in client.batches.list()}
    assert all(listed[id] == client.batches.retrieve(id) for id in wanted)


def test_without_an_upstream_inputs_are_validated_and_batches_say_what_they_wait_for(
    data_folder: Path,
) -> None:
    settings = {"BATCHMILL_API_KEY": KEY, "BATCHMILL_FREE_SPACE_FLOOR": "0"}
    two_models = joined(
        request(f"line-{n}", ask("hello") | {"model": model})
        for n, model in enumerate(("small", "large", "small"))
    )
    with serve_process("--data-dir", data_folder, settings=settings) as alone:
        alone.until("no upstream is set")
        client = alone.client(KEY)
        failed = until_ended(client, submit(client, two_models))
        assert failed.errors is not None
        assert failed.errors.data is not None
        assert [(error.code, error.param, error.line) for error in failed.errors.data] == [
            ("mismatched_model", "body.model", 2)
        ]
        reason = "waiting for an upstream that serves model 'practice': none is set"
        until(why_waiting(client, submit(client, chat("hello"))), lambda told: told == reason)


def why_waiting(client: OpenAI, batch: Batch) -> Callable[[], str | None]:
    """Looks why a batch waits."""

    def look() -> str | None:
        extra: dict[str, Any] = (client.batches.retrieve(batch.id).model_extra or {})["batchmill"]
        reason: str | None = extra["waiting_for"]
        return reason

    return look
