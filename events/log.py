"""The event log: the only truth. This is its face; `events/postgres_log.py` keeps it in Postgres.

Lock order, for everything that writes in one transaction: leadership rows by name → read-model rows by
id → batch work row → claim rows by id → attachments → log lock → only INSERTs → commit. Nothing is locked
after the log lock. A whole append or flush is one call of one function in autocommit, so that a frozen
client can hold up nobody.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from events.event import Attachment, NewEvent, RecordedEvent

Kind = Literal["batch", "file", "key", "upload", "webhook_endpoint", "audit_keys"]
Phase = Literal["planning", "running", "stopping", "finalizing"]


class Row(msgspec.Struct, frozen=True):
    """The read-model row that an append writes with the creation or deletion of an object.

    `label` is what the object is looked up by beside its id: a file's purpose, a key's SHA-256.
    `stored` is the storage key of a file's contents. `hidden` takes it out of lists and GETs at once; of a
    row that is there already, only that changes.
    """

    kind: Kind
    id: str
    project_id: str
    label: str | None = None
    stored: str | None = None
    hidden: bool = False


class Board(msgspec.Struct, frozen=True):
    """What an append writes on the work board for a batch, in the same transaction.

    `phase` None takes the batch off the board (it has ended). Any phase but `planning` and `running`, and
    None, leaves claims alone unless `revoke` is set: then all claims of the batch are void. Fields that
    are None keep what the board has. `expires_within` and `stop_within` are seconds from the append on, by
    the database's clock.
    """

    batch_id: str
    project_id: str
    phase: Phase | None
    input_file_id: str | None = None
    model: str | None = None
    total: int | None = None
    estimated_tokens: int | None = None
    expires_within: float | None = None
    stop_within: float | None = None
    revoke: bool = False


class Leadership(msgspec.Struct, frozen=True):
    """A named right to lead, unforgeable and unrepeatable by its token."""

    name: str
    token: UUID


class Flush(msgspec.Struct, frozen=True):
    """Outcomes of one claim to record together: its event, and which lines of the claim (bits, from its
    first line) they are."""

    claim_id: int
    token: UUID
    event: NewEvent
    bits: str


FlushResult = Literal["recorded", "lost"]


class RecordedFlush(msgspec.Struct, frozen=True):
    """A flush as the log holds it: its event, the facts of its lines, the digest of its attachment as it was
    recorded, and the attachment itself (None where it was erased)."""

    event_id: UUID
    lines: bytes
    attachment_digest: bytes
    attachment: Attachment | None


class Incarnation(msgspec.Struct, frozen=True):
    """An incarnation of the log, and the last position that it took over from the one before."""

    id: UUID
    position: int


class Log(Protocol):
    """Append-only, dense positions in commit order, one version per event and stream."""

    async def append(
        self,
        events: Sequence[NewEvent],
        *,
        expect: Mapping[str, int] | None = None,
        rows: Sequence[Row] = (),
        board: Board | None = None,
        leadership: Leadership | None = None,
    ) -> list[int]:
        """Records events of one or several streams in one transaction and returns their positions.

        `expect` maps streams (also ones without an event here) to the version that the decision was made
        on, 0 for a stream that must be new; only an event other than `LinesCompleted` after it is a
        conflict. Repeating a call with the same event ids returns the first positions. Raises
        `VersionConflict`, `EventMismatch`, `LeadershipLost`, `LogBusy`, `DatabaseUnavailable`.
        """
        ...

    async def flush(self, flushes: Sequence[Flush]) -> list[FlushResult]:
        """Records outcomes of claims in one transaction.

        `lost` for a claim whose token no longer holds or a line that already has an outcome: nothing of
        that claim is recorded. A repeated event id is `recorded`, whatever the token. Raises as `append`.
        """
        ...

    async def erase(self, batch_id: str, file_id: str) -> int:
        """Erases the attachments of an ended batch whose result file `file_id` is gone; says how many."""
        ...

    async def stream(self, stream_id: str, *, after: int = 0, limit: int = 1000) -> list[RecordedEvent]:
        """Events of one stream with a version over `after`, in order."""
        ...

    async def read(self, *, after: int, limit: int = 1000) -> list[RecordedEvent]:
        """Events of the whole log with a position over `after`, in order; no gaps, no late arrivals."""
        ...

    async def facts(
        self, batch_id: str, *, after: int = 0, limit: int = 100
    ) -> list[tuple[int, UUID, bytes]]:
        """(version, event id, `lines`) of a batch's `LinesCompleted` events, in order."""
        ...

    async def flushed(self, batch_id: str, version: int) -> RecordedFlush | None:
        """The `LinesCompleted` event of a batch at this version; None where there is none."""
        ...

    async def index_block(self, batch_id: str, group: int, block: int) -> Attachment | None:
        """One block of the index of a batch's lines, by its group and its place there, both from 0; None
        where there is none."""
        ...

    async def head(self) -> int:
        """The last position; 0 for an empty log."""
        ...

    async def version_at(self, stream_id: str, position: int) -> int:
        """The last version that a stream had at a position; 0 where it had not begun."""
        ...

    async def incarnations(self) -> list[Incarnation]:
        """Every incarnation of the log, the one it is in last. The first took over nothing."""
        ...
