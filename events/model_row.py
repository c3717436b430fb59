"""The row of the read models that an object has, as its events alone give it. Pure."""

from datetime import datetime

import msgspec

from events.catalog import State, kind_of
from events.event import RecordedEvent
from events.file import File
from events.key import Key
from events.log import Kind
from events.read_models import KINDS
from events.shape import encode_state
from events.upload import Upload
from events.webhooks.endpoint import WebhookEndpoint


class FoldedRow(msgspec.Struct, frozen=True):
    """A row. `created_at` is that of the first event: a live row has the moment its append began, which is
    sooner by the wait for the log's lock."""

    id: str
    kind: Kind
    project_id: str
    label: str | None
    stored: str | None
    created_at: datetime
    hidden: bool
    version: int
    state: str | None
    parked: str | None


def model_row(
    first: RecordedEvent, state: State | None, version: int, parked: str | None
) -> FoldedRow | None:
    """The row of the object that the event `first` created, which is in this state after the event `version`;
    None where this program has no such objects. `parked` says why it cannot be folded further, if so."""
    kind = kind_of(first.stream_id)
    if kind is None:
        return None
    label, stored, hidden = derived(state)
    return FoldedRow(
        id=first.stream_id,
        kind=KINDS[kind],
        project_id=first.project_id,
        label=label,
        stored=stored,
        created_at=first.recorded_at,
        hidden=hidden,
        version=version,
        state=None if state is None else encode_state(state),
        parked=parked,
    )


def derived(state: State | None) -> tuple[str | None, str | None, bool]:
    """The columns `label`, `stored` and `hidden` of the row of an object."""
    match state:
        case File():
            return state.created.purpose, state.created.storage_key, state.gone
        case Key():
            return state.created.sha256, None, False
        case Upload():
            return None, None, state.status != "pending"
        case WebhookEndpoint():
            return None, None, state.deleted_at is not None
        case _:
            return None, None, False
