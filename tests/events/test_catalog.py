"""Every event ever written can be read: the golden files hold each type's text and what it must mean.

A golden file is never edited. A new shape gets a file of its own, named after its type, or after its type and
what was added to it: `BatchCompleted+checkpoint.json`.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.batch import Batch, BatchStarted, Usage
from events.catalog import TYPES, UPCASTERS, Plain, decode, encode, fold, kind_of, new_event
from events.errors import UnknownEvent
from events.event import RecordedEvent
from events.file import FileDeleted
from tests.events.stage import batch_created

GOLDEN: Final = Path(__file__).parent / "golden"


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`data` as it stands in some log; `lifted_to` is the type it is read as, `expected` the fields it had
    then (fields that were added later have their defaults)."""

    type: str
    data: str
    lifted_to: str
    expected: dict[str, object]


def recorded(type_: str, data: str, version: int = 1) -> RecordedEvent:
    moment = datetime(2026, 11, 24, 12, 0, 0, 999_999, tzinfo=UTC)
    return RecordedEvent(1, uuid4(), "batch_1", version, type_, "p", data, "{}", moment)


def test_every_event_type_has_a_golden_file() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} >= {*TYPES, *UPCASTERS}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_once_written_reads_as_it_always_did(path: Path) -> None:
    golden = msgspec.json.decode(path.read_bytes(), type=Golden)
    event = decode(golden.type, golden.data)
    assert path.stem.partition("+")[0] == golden.type
    assert type(event).__name__ == golden.lifted_to
    fields = json.loads(msgspec.json.encode(event))
    assert {name: fields[name] for name in golden.expected} == golden.expected


@pytest.mark.parametrize("name", sorted(TYPES))
def test_what_is_written_now_is_read_as_it_was_meant(name: str) -> None:
    golden = msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes(), type=Golden)
    event = decode(name, golden.data)
    assert decode(*encode(event)) == event


def test_fields_that_a_newer_program_added_are_ignored() -> None:
    assert decode("BatchStarted", '{"total":3,"model":"m","shards":9}') == BatchStarted(3, "m")


def test_an_old_shape_is_lifted_step_by_step_before_construction() -> None:
    def to_second(plain: Plain) -> tuple[str, Plain]:
        return "BatchBegun.v2", {"lines": plain["n"]}

    def to_now(plain: Plain) -> tuple[str, Plain]:
        return "BatchStarted", {"total": plain["lines"], "model": "unknown"}

    upcasters = {"BatchBegun": to_second, "BatchBegun.v2": to_now}
    assert decode("BatchBegun", '{"n":3}', upcasters=upcasters) == BatchStarted(3, "unknown")
    assert decode("BatchBegun.v2", '{"lines":4}', upcasters=upcasters) == BatchStarted(4, "unknown")
    with pytest.raises(UnknownEvent, match="does not fit"):
        decode("BatchBegun", '{"n":"three"}', upcasters=upcasters)


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("BatchTeleported", "{}"),
        ("BatchStarted", '{"total":"3","model":"m"}'),
        ("BatchStarted", "not json"),
        ("BatchStarted", '{"total":3,"model":"\\ud800"}'),
    ],
)
def test_what_cannot_be_read_is_an_unknown_event(type_: str, data: str) -> None:
    with pytest.raises(UnknownEvent):
        decode(type_, data)


def test_an_event_on_a_stream_of_another_kind_cannot_be_folded() -> None:
    batch = fold(None, recorded(*encode(batch_created())))
    with pytest.raises(UnknownEvent, match="does not follow"):
        fold(batch, recorded(*encode(FileDeleted())))


def test_an_event_before_the_creation_cannot_be_folded() -> None:
    with pytest.raises(UnknownEvent, match="does not follow"):
        fold(None, recorded("BatchStarted", '{"total":3,"model":"m"}'))


def test_times_are_whole_seconds_by_the_clock_of_the_log() -> None:
    state = fold(None, recorded(*encode(batch_created(window=60))))
    assert isinstance(state, Batch)
    assert state.created_at == int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp())
    assert state.expires_at == state.created_at + 60


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        ("batch_1", "Batch"),
        ("file-1", "File"),
        ("key_1", "Key"),
        ("upload_1", "Upload"),
        ("we_1", "WebhookEndpoint"),
        ("audit-keys", "AuditKeys"),
        ("reads-default", None),
        ("model_1", None),
    ],
)
def test_the_id_of_a_stream_says_what_it_is_a_stream_of(stream: str, kind: str | None) -> None:
    found = kind_of(stream)
    assert (found.__name__ if found else None) == kind


@given(st.integers(0, 1 << 40), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_event_survives_its_text(total: int, model: str) -> None:
    event = BatchStarted(total, model)
    assert decode(*encode(event)) == event
    assert json.loads(encode(event)[1])["model"] == model


@given(*[st.integers(0, 1 << 40)] * 5)
def test_usage_adds_field_by_field(a: int, b: int, c: int, d: int, e: int) -> None:
    usage = Usage(a, b, c, d, e)
    assert usage + Usage() == usage
    assert (usage + usage).total_tokens == 2 * e


def test_events_get_ids_of_their_own_unless_the_caller_has_better_ones() -> None:
    event = BatchStarted(1, "m")
    assert new_event("batch_1", "p", event).event_id != new_event("batch_1", "p", event).event_id
    mine = uuid4()
    assert new_event("batch_1", "p", event, event_id=mine).event_id == mine
