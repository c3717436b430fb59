"""Programs of different ages stand on one database: none misreads, and none undoes, what another has written.

An older program is played by rows in an older shape, a newer one by rows in a newer shape, each with the
events that it would have made them of.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from engine.lifter import Lifter
from events import batch, file, key, upload
from events.audit import keys as audit_keys
from events.audit.replay import Replay, Replayed
from events.batch import Batch
from events.bus import Bus
from events.buses.local_bus import LocalBus
from events.catalog import State, new_event
from events.errors import UnknownEvent
from events.event import NewEvent
from events.journal import Journal
from events.key import Key, KeyCreated, KeyRevoked
from events.log import Row
from events.read_models import model_write
from events.shape import BEFORE, SHAPES, decode_state, encode_state, shape_of
from events.webhooks import endpoint
from tests.events.stage import PROJECT, Stage, flush_of
from tests.postgres import Database

GOLDEN: Final = Path(__file__).parent / "shapes.json"
OWN: Final = SHAPES[Key].number
SECRET: Final = "ab" * 32
EVENTS: Final[dict[type[State], Any]] = {
    Batch: batch.BatchEvent,
    file.File: file.FileEvent,
    Key: key.KeyEvent,
    upload.Upload: upload.UploadEvent,
    endpoint.WebhookEndpoint: endpoint.WebhookEndpointEvent,
    audit_keys.AuditKeys: audit_keys.AuditEvent,
}


def fields_of(kind: Any, path: str = "") -> Iterator[str]:
    """Every field that a state has, and those of what it holds."""
    for argument in get_args(kind):
        yield from fields_of(argument, path)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield f"{path}{field.encode_name}"
            yield from fields_of(field.type, f"{path}{field.encode_name}.")


def described(kind: type[State]) -> dict[str, object]:
    union = get_args(EVENTS[kind]) or (EVENTS[kind],)
    return {
        "shape": list(SHAPES[kind]),
        "events": sorted(event.__name__ for event in union),
        "fields": sorted(set(fields_of(kind))),
    }


def test_a_state_that_changes_gets_the_next_number() -> None:
    known = json.loads(GOLDEN.read_text())
    assert set(SHAPES) == set(EVENTS)
    assert {kind.__name__: described(kind) for kind in EVENTS} == known, (
        "a state has other fields or events than when its shape got its number: give it the next one in "
        "events/shape.py, think about `readable_from`, and write down here what it has now"
    )


def test_a_row_says_its_shape_and_is_read_without_it() -> None:
    state = Key(KeyCreated(SECRET, "…abcd"), 1)
    text = encode_state(state)
    assert shape_of(text) == SHAPES[Key]
    assert decode_state(Key, text, "key_1") == state
    assert shape_of(msgspec.json.encode(state).decode()) == (0, 0)


async def made_key(stage: Stage, *later: NewEvent) -> str:
    created = new_event("key_1", PROJECT, KeyCreated(SECRET, "…abcd"))
    await stage.log.append([created, *later], rows=[Row("key", "key_1", PROJECT, label=SECRET)])
    return "key_1"


async def write(stage: Stage, id: str, version: int, state: str, parked: str | None = None) -> None:
    """Whatever a program may have written."""
    async with stage.database.writing() as connection:
        await connection.execute(
            "UPDATE read_models SET version = $2, state = $3, parked = $4 WHERE id = $1",
            id, version, state, parked,
        )  # fmt: skip


async def row(stage: Stage, id: str) -> tuple[int, str]:
    async with stage.database.reading() as connection:
        found = await connection.fetchrow("SELECT version, state FROM read_models WHERE id = $1", id)
    assert found is not None
    return found["version"], found["state"]


def newer(state: State, readable_from: int, **more: object) -> str:
    """The text of a row that a program with the next shape writes."""
    fields = {"shape": [SHAPES[type(state)].number + 1, readable_from], **msgspec.to_builtins(state), **more}
    return msgspec.json.encode(fields).decode()


def older(state: State, *unknown: str) -> str:
    """The text of a row that a program wrote before rows said their shape, and that knew some fields less."""
    fields = {name: value for name, value in msgspec.to_builtins(state).items() if name not in unknown}
    return msgspec.json.encode(fields).decode()


async def replayed(stage: Stage) -> Replayed:
    return await Replay(stage.database, None).run()


def journal(stage: Stage) -> Journal:
    bus: Bus = LocalBus()
    return Journal(stage.log, stage.models, bus)


async def traced_batch(stage: Stage) -> tuple[str, Batch]:
    """A batch with something that an older program left out of its rows."""
    batch_id = await stage.running_batch(lines=4)
    state = (await stage.models.get(Batch, batch_id)).state
    assert state.model == "m"
    return batch_id, state


async def test_what_an_older_program_left_out_is_folded_again(stage: Stage) -> None:
    batch_id, state = await traced_batch(stage)
    await write(stage, batch_id, 2, older(state, "model", "in_progress_at"))
    assert (await stage.models.get(Batch, batch_id)).state == state
    [listed] = (await stage.models.page(Batch, PROJECT)).objects
    assert listed.state == state


async def test_it_is_no_difference_but_an_edit_of_what_it_knew_is(stage: Stage) -> None:
    batch_id, state = await traced_batch(stage)
    text = older(state, "model")
    await write(stage, batch_id, 2, text)
    found = await replayed(stage)
    assert (found.differences, found.foreign) == ([], 1)
    await write(stage, batch_id, 2, text.replace('"total":4', '"total":5'))
    [difference] = (await replayed(stage)).differences
    assert (difference.field, difference.replayed, difference.live) == ("state.total", "4", "5")


async def test_a_long_stream_waits_for_the_leader_and_no_look_writes_it_as_if_it_were_lifted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id, state = await traced_batch(stage)
    await write(stage, batch_id, 2, older(state, "model"))
    monkeypatch.setattr("events.read_models.AGAIN", 1)
    claim = await stage.claim(batch_id, 4)
    await stage.log.flush([flush_of(claim, [0])])
    seen = await stage.models.get(Batch, batch_id)
    assert (seen.state.model, seen.state.completed) == (None, 1)
    await stage.models.advance([model_write(seen)])
    assert shape_of((await row(stage, batch_id))[1]).number == 0

    leadership = await stage.lead()
    assert await Lifter(journal(stage)).look(leadership) == 1
    seen = await stage.models.get(Batch, batch_id)
    assert (seen.state.model, seen.state.completed, seen.shape) == ("m", 1, None)
    assert (await replayed(stage)).foreign == 0
    assert await Lifter(journal(stage)).look(leadership) == 0


async def test_a_row_that_an_older_program_parked_is_taken_up_again(stage: Stage) -> None:
    key_id = await made_key(stage, new_event("key_1", PROJECT, KeyRevoked()))
    text = encode_state(Key(KeyCreated(SECRET, "…abcd"), 1))
    await write(stage, key_id, 1, text, "no event type 'KeyRevoked'")
    leadership = await stage.lead()
    assert await Lifter(journal(stage)).look(leadership) == 1
    assert (await row(stage, key_id))[0] == 2
    assert await Lifter(journal(stage)).look(leadership) == 0


async def test_a_row_that_this_program_would_misread_opens_nothing(stage: Stage) -> None:
    """A newer leader has written that a key is pinned to an address; this program has never heard of that."""
    pinned = NewEvent(uuid4(), "key_1", PROJECT, "KeyPinned", '{"to":"192.0.2.7"}')
    key_id = await made_key(stage, pinned)
    state = Key(KeyCreated(SECRET, "…abcd"), 1)
    await write(stage, key_id, 2, newer(state, OWN + 1, pinned="192.0.2.7"))
    with pytest.raises(UnknownEvent, match="KeyPinned"):
        await stage.models.key_of(SECRET)
    assert not await stage.models.opens(key_id)
    [listed] = (await stage.models.page(Key, PROJECT)).objects
    assert listed.parked is not None


async def test_an_object_that_the_newer_program_has_not_used_that_on_is_read_from_its_events(
    stage: Stage,
) -> None:
    key_id = await made_key(stage)
    await write(stage, key_id, 1, newer(Key(KeyCreated(SECRET, "…abcd"), 7), OWN + 1, pinned=None))
    seen = await stage.models.key_of(SECRET)
    assert seen is not None
    assert seen.state.created_at != 7


async def test_a_long_one_of_these_is_not_answered_at_all(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id, state = await traced_batch(stage)
    await write(stage, batch_id, 2, newer(state, SHAPES[Batch].number + 1))
    monkeypatch.setattr("events.read_models.AGAIN", 1)
    with pytest.raises(UnknownEvent, match="another program"):
        await stage.models.get(Batch, batch_id)
    assert (await stage.models.page(Batch, PROJECT)).unread == [batch_id]


async def test_what_a_newer_program_wrote_is_read_and_left_to_it(stage: Stage) -> None:
    batch_id, state = await traced_batch(stage)
    text = newer(state, SHAPES[Batch].number, priority="high")
    await write(stage, batch_id, 2, text)
    claim = await stage.claim(batch_id, 4)
    await stage.log.flush([flush_of(claim, [0, 1])])
    seen = await stage.models.get(Batch, batch_id)
    assert (seen.version, seen.state.completed) == (3, 2)
    await stage.models.advance([model_write(seen)])
    assert await Lifter(journal(stage)).look(await stage.lead()) == 0
    assert await row(stage, batch_id) == (2, text)
    found = await replayed(stage)
    assert (found.differences, found.foreign) == ([], 1)


async def test_nobody_else_being_there_it_is_moved_forward_all_the_same(stage: Stage) -> None:
    """The upgrade was taken back: no row may be folded from further and further behind."""
    batch_id, state = await traced_batch(stage)
    await write(stage, batch_id, 2, newer(state, SHAPES[Batch].number, priority="high"))
    far = msgspec.structs.replace(model_write(await stage.models.get(Batch, batch_id)), version=1001)
    await stage.models.advance([far])
    assert (await row(stage, batch_id))[0] == 2
    await stage.models.advance([msgspec.structs.replace(far, version=1002)])
    assert await row(stage, batch_id) == (1002, far.state)


@pytest.mark.parametrize("gone", [1, 2])
async def test_of_a_stream_that_has_lost_events_the_row_is_taken_as_it_is(
    stage: Stage, database: Database, gone: int
) -> None:
    batch_id, state = await traced_batch(stage)
    await write(stage, batch_id, 2, older(state, "model"))
    await stage.cancel(batch_id)
    owner = await asyncpg.connect(database.superuser_url)
    try:
        await owner.execute("SET session_replication_role = replica")
        await owner.execute("DELETE FROM events WHERE version = $1", gone)
    finally:
        await owner.close()
    seen = await stage.models.get(Batch, batch_id)
    assert (seen.version, seen.state.status, seen.state.model) == (3, "cancelling", None)
    assert seen.shape == BEFORE
    assert await Lifter(journal(stage)).look(await stage.lead()) == 0
