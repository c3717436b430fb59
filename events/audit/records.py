"""What the audit reads and keeps in the database: leaves of the log, and the checkpoints that were signed.

The table of checkpoints is for finding them. It proves nothing, since whoever owns the database may change
it; each row is a note, and its signature does.
"""

from typing import Final
from uuid import UUID

import msgspec

from events.audit.checkpoint import Checkpoint, parse_checkpoint
from events.audit.digests import LogRow
from events.audit.leaf import event_leaf
from events.audit.note import Note, parse_note
from events.database import Database
from events.incarnation import current_incarnation
from events.log import Leadership
from events.segments.segments import Segments
from events.statements import load_statements
from storage.store import Store

_SQL: Final = load_statements("events", "sql/audit.sql")


class Leaf(msgspec.Struct, frozen=True):
    """The leaf of the event at `position`, as its hash."""

    position: int
    hash: bytes

    @classmethod
    def of(cls, row: LogRow) -> "Leaf":
        """Of an event that was moved to storage."""
        return cls(row.position, row.leaf)


class LeafOf(msgspec.Struct, frozen=True):
    """What the leaf of an event is made of, and the event's type, which its digest covers."""

    position: int
    stream_id: str
    version: int
    type: str
    digest: bytes

    @property
    def hash(self) -> bytes:
        """The hash of the leaf."""
        return event_leaf(self.digest, self.stream_id, self.version)

    @classmethod
    def of(cls, row: LogRow) -> "LeafOf":
        """Of an event that was moved to storage."""
        return cls(row.position, row.stream_id, row.version, row.type, row.digest)


class Signed(msgspec.Struct, frozen=True):
    """A checkpoint and the note that it came in, of whose signatures nothing is known yet."""

    checkpoint: Checkpoint
    note: Note


def parse_signed(encoded: bytes | str) -> Signed:
    """The checkpoint in a note. Raises `MalformedNote`."""
    note = parse_note(encoded)
    return Signed(parse_checkpoint(note.text), note)


class AuditRecords:
    """Over a `Database`, and the storage that old events may be in; every method raises
    `DatabaseUnavailable`, and those that ask for leaves as `Segments`."""

    def __init__(self, database: Database, store: Store | None = None) -> None:
        self._database = database
        self._segments = Segments(database, store)

    async def incarnation(self) -> UUID:
        """The incarnation that the log is in now."""
        return await current_incarnation(self._database)

    async def leaves(self, start: int, limit: int) -> list[Leaf]:
        """The leaves of events from the position `start` on, in order."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["leaves"], start, limit)
        leaves = [
            Leaf(row["position"], event_leaf(row["digest"], row["stream_id"], row["version"])) for row in rows
        ]
        return await self._segments.page(leaves, Leaf.of, after=start - 1, limit=limit)

    async def leaf_at(self, position: int) -> LeafOf | None:
        """What the leaf of the event at `position` is made of; None where there is none."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(_SQL["leaf_at"], position)
        if row is not None:
            return LeafOf(**row)
        moved = await self._segments.at(position)
        return None if moved is None else LeafOf.of(moved)

    async def leaf_in(self, project_id: str, position: int) -> LeafOf | None:
        """The same of an event of a project; None where it is another's, or there is none."""
        async with self._database.reading() as connection:
            row = await connection.fetchrow(_SQL["leaf_in"], position, project_id)
        if row is not None:
            return LeafOf(**row)
        moved = await self._segments.at(position)
        return None if moved is None or moved.project_id != project_id else LeafOf.of(moved)

    async def leaves_of(self, stream_id: str, *, after: int = 0, limit: int = 1000) -> list[LeafOf]:
        """The same of a stream's events with a version over `after`, in order."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["leaves_of"], stream_id, after, limit)
        leaves = [LeafOf(**row) for row in rows]
        return await self._segments.stream_page(stream_id, leaves, LeafOf.of, after=after, limit=limit)

    async def newest(self, incarnation: UUID) -> Signed | None:
        """The newest checkpoint that was signed. Raises `MalformedNote` where the row was damaged."""
        async with self._database.reading() as connection:
            note: str | None = await connection.fetchval(_SQL["newest"], incarnation)
        return None if note is None else parse_signed(note)

    async def last(self) -> Checkpoint | None:
        """The newest checkpoint of the log as it is now. Raises as `newest`."""
        newest = await self.newest(await self.incarnation())
        return None if newest is None else newest.checkpoint

    async def covering(self, incarnation: UUID, position: int) -> Signed | None:
        """The first checkpoint that covers a position; None where none does yet. Raises as `newest`."""
        async with self._database.reading() as connection:
            note: str | None = await connection.fetchval(_SQL["covering"], incarnation, position)
        return None if note is None else parse_signed(note)

    async def unsealed(self) -> float | None:
        """For how many seconds the oldest event has waited that no checkpoint covers; 0.0 where none waits,
        None where nothing was ever signed."""
        async with self._database.reading() as connection:
            waited: float | None = await connection.fetchval(_SQL["unsealed"])
        return waited

    async def keep(self, leadership: Leadership, incarnation: UUID, signed: Signed) -> Signed:
        """Keeps what was signed, and says what is kept of that size: what was kept first stays. Moves the
        follower's checkpoint, too. Raises `LeadershipLost`, and as `newest`."""
        checkpoint = signed.checkpoint
        async with self._database.writing() as connection:
            kept: str = await connection.fetchval(
                _SQL["keep"],
                leadership.name,
                leadership.token,
                incarnation,
                checkpoint.size,
                checkpoint.root,
                signed.note.encode(),
            )
        return parse_signed(kept)
