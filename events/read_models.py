"""What the GET endpoints serve: one row an object, and the tail of its stream folded at read time.

A row is an accelerator: it is written with the creation, moved forward by the projector, and can be
dropped and folded again from the log. No answer is ever stale, with the projector down too.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, Generic, TypeVar, cast
from uuid import UUID

import asyncpg
import msgspec

from events.audit.keys import AuditKeys
from events.batch import Batch
from events.catalog import State, fold
from events.database import Database
from events.errors import KeyExpired, NotFound, UnknownEvent
from events.event import RecordedEvent
from events.failpoint import at
from events.file import File
from events.key import Key
from events.log import Kind, Leadership
from events.postgres_log import recorded_event
from events.shape import AGAIN, SHAPES, Shape, decode_state, encode_state, shape_of
from events.statements import load_statements
from events.upload import Upload
from events.webhooks.endpoint import WebhookEndpoint

_SQL: Final = load_statements("events", "sql/read_models.sql")
KINDS: Final[Mapping[object, Kind]] = {
    Batch: "batch",
    File: "file",
    Key: "key",
    Upload: "upload",
    WebhookEndpoint: "webhook_endpoint",
    AuditKeys: "audit_keys",
}
TAIL: Final = 1000
"""Most events folded into an answer; where a stream has more, the row is written forward first."""

STRETCH: Final = 10_000
"""Positions of the log searched by one statement."""

S = TypeVar("S", bound=State)


class Seen(msgspec.Struct, Generic[S], frozen=True):
    """An object as it is now. `version` is that of the last event folded; `parked` says why the stream
    cannot be folded further, if so; `hidden` objects answer as unknown ones. `shape` is that of an older
    program's row which the state was folded on, and is to be written with."""

    id: str
    project_id: str
    version: int
    state: S
    hidden: bool = False
    parked: str | None = None
    shape: Shape | None = None


class Page(msgspec.Struct, Generic[S], frozen=True):
    """A page of a list, in its order, but for what this program cannot read: of that the ids are `unread`.
    `last_id` is that of the last object, read or not."""

    objects: list[Seen[S]]
    has_more: bool
    unread: Sequence[str] = ()
    last_id: str | None = None


class ModelWrite(msgspec.Struct, frozen=True):
    """A row to move forward."""

    id: str
    version: int
    state: str | None
    parked: str | None


class Written(msgspec.Struct, frozen=True):
    """How a row was written: with the shape of this number (None: not yet), and what parked it then, if
    anything."""

    id: str
    shape: int | None
    parked: str | None


class ReadModels:
    """Reads objects of any kind; `kind` arguments are the state's class."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, kind: type[S], id: str, project_id: str | None = None) -> Seen[S] | None:
        """The object, hidden ones too; None where there is none, or none of that project (None: any).

        Raises `UnknownEvent`, as `get` and `key_of`, for a row that another program wrote in another shape.
        """
        while True:
            async with self._database.reading() as connection:
                rows = await connection.fetch(
                    _SQL["one"], id, KINDS[kind], project_id, TAIL, SHAPES[kind].number, AGAIN
                )
            seen = _folded(kind, rows)
            if seen is None or len(rows) < TAIL or seen.parked:
                return seen
            await self.advance([model_write(seen)])

    async def get(
        self, kind: type[S], id: str, project_id: str | None = None, *, hidden: bool = False
    ) -> Seen[S]:
        """The object. Raises `NotFound` where `find` finds none, or, unless `hidden`, a hidden one."""
        seen = await self.find(kind, id, project_id)
        if seen is None or (seen.hidden and not hidden):
            raise NotFound(f"no {KINDS[kind]} {id!r}")
        return seen

    async def page(
        self,
        kind: type[S],
        project_id: str,
        *,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = True,
        label: str | None = None,
    ) -> Page[S]:
        """At most `limit` objects after the object `after`, which may be gone; what this program cannot read
        is left out. Raises `NotFound` for a cursor that the project never had."""
        async with self._database.reading() as connection:
            moment: datetime | None = None
            if after is not None:
                moment = await connection.fetchval(_SQL["cursor"], after, KINDS[kind], project_id)
                if moment is None:
                    raise NotFound(f"no {KINDS[kind]} {after!r} to list after")
            rows = await connection.fetch(
                _SQL["page_newest_first" if newest_first else "page_oldest_first"],
                KINDS[kind],
                project_id,
                label,
                moment,
                after,
                limit + 1,
                TAIL,
                SHAPES[kind].number,
                AGAIN,
            )
        groups: dict[str, list[asyncpg.Record]] = {}
        for row in rows:
            groups.setdefault(row["id"], []).append(row)
        objects, unread = [], []
        ids = list(groups)[:limit]
        for id in ids:
            # One row of another program must not take the others with it; whoever asks for it is told.
            try:
                group = groups[id]
                seen = _folded(kind, group) if len(group) < TAIL else await self.find(kind, id, project_id)
            except UnknownEvent:
                seen = None
            if seen is None:
                unread.append(id)
            else:
                objects.append(seen)
        return Page(objects, len(groups) > limit, unread, ids[-1] if ids else None)

    async def key_of(self, secret_sha256: str) -> Seen[Key] | None:
        """The key, not revoked, that a secret's hex SHA-256 belongs to. Raises `KeyExpired`, and
        `UnknownEvent` for one that is parked, too: nobody here knows what it still opens."""
        seen, now = await self._keyed(secret_sha256)
        if seen is None or seen.state.revoked_at is not None:
            return None
        if seen.parked is not None:
            raise UnknownEvent(seen.parked)
        if seen.state.expires_at is not None and seen.state.expired(now):
            raise KeyExpired(seen.id, seen.state.expires_at)
        return seen

    async def key_ever_of(self, secret_sha256: str) -> Seen[Key] | None:
        """The key that a secret's hex SHA-256 belongs to, whatever became of it."""
        return (await self._keyed(secret_sha256))[0]

    async def _keyed(self, secret_sha256: str) -> tuple[Seen[Key] | None, int]:
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["key"], secret_sha256, TAIL, SHAPES[Key].number, AGAIN)
        return _folded(Key, rows), rows[0]["now"] if rows else 0

    async def opens(self, key_id: str) -> bool:
        """Whether a key that opened something before still does."""
        seen = await self.find(Key, key_id)
        if seen is None or seen.parked is not None or seen.state.revoked_at is not None:
            return False
        return not seen.state.expired(await self.now())

    async def now(self) -> int:
        """The time it is by the database's clock, in Unix seconds; expiries go by it."""
        async with self._database.reading() as connection:
            return cast(int, await connection.fetchval(_SQL["now"]))

    async def log(self) -> UUID:
        """Which log this is, in all of its incarnations: the id of its first."""
        async with self._database.reading() as connection:
            return cast(UUID, await connection.fetchval(_SQL["log"]))

    async def keys(self, limit: int = 10_000) -> list[Seen[Key]]:
        """Every project's keys, revoked ones too, the oldest first; not those this program cannot read."""
        async with self._database.reading() as connection:
            ids = [row["id"] for row in await connection.fetch(_SQL["keys"], limit)]
        found = []
        for id in ids:
            with suppress(UnknownEvent):
                found.append(await self.find(Key, id))
        return [key for key in found if key is not None]

    async def overdue(self, kind: type[S], limit: int) -> list[str]:
        """Objects whose time is over as far as their rows say, the longest first; none that is hidden or
        parked."""
        async with self._database.reading() as connection:
            return [row["id"] for row in await connection.fetch(_SQL["overdue"], KINDS[kind], limit)]

    async def kept(self, project_id: str) -> int:
        """Bytes of a project's files, and of its uploads under way, which count as long as they will be."""
        async with self._database.reading() as connection:
            return cast(int, await connection.fetchval(_SQL["kept"], project_id))

    async def count(self, kind: type[S], project_id: str, most: int) -> int:
        """How many objects of a kind a project has that are not hidden; `most` for so many or more."""
        async with self._database.reading() as connection:
            return cast(int, await connection.fetchval(_SQL["count"], KINDS[kind], project_id, most))

    async def visible(self, kind: type[S], *, after: str = "", limit: int = 100) -> list[str]:
        """The next ids, in their order, of every project's objects of a kind that are not hidden."""
        async with self._database.reading() as connection:
            return [row["id"] for row in await connection.fetch(_SQL["visible"], KINDS[kind], after, limit)]

    async def named(self, storage_keys: Sequence[str]) -> set[str]:
        """Which of some storage keys belong to a file that was recorded, gone or not. What no row names is
        looked for in the log itself: whether an object may be deleted must not hang on rows."""
        async with self._database.reading() as connection:
            named = {row["stored"] for row in await connection.fetch(_SQL["named"], list(storage_keys))}
            head = cast(int, await connection.fetchval(_SQL["head"]))
        for start in range(0, head, STRETCH):
            unnamed = [key for key in storage_keys if key not in named]
            if not unnamed:
                break
            async with self._database.reading() as connection:
                rows = await connection.fetch(_SQL["named_in_log"], unnamed, start, start + STRETCH)
            named.update(row["stored"] for row in rows)
        return named

    async def written(self, after: str, limit: int) -> list[Written]:
        """The next rows by id."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["written"], after, limit)
        return [Written(row["id"], row["shape"], row["parked"]) for row in rows]

    async def checkpoint(self, follower: str) -> int:
        """The position that a follower has handled; 0 for one that never ran."""
        async with self._database.reading() as connection:
            return cast(int, await connection.fetchval(_SQL["checkpoint"], follower))

    async def advance(
        self,
        writes: Sequence[ModelWrite],
        *,
        follower: str | None = None,
        upto: int = 0,
        leadership: Leadership | None = None,
    ) -> None:
        """Moves rows forward and, with `follower`, its checkpoint, in one transaction. Raises
        `LeadershipLost` where the leadership is another's by now."""
        await at("checkpoint.before")
        async with self._database.writing() as connection:
            await connection.execute(
                _SQL["advance"],
                None if leadership is None else leadership.name,
                None if leadership is None else leadership.token,
                follower,
                upto,
                [w.id for w in writes],
                [w.version for w in writes],
                [w.state for w in writes],
                [w.parked for w in writes],
            )
        await at("checkpoint.after")


def model_write(seen: Seen[S]) -> ModelWrite:
    """The row that holds what was seen."""
    return ModelWrite(seen.id, seen.version, encode_state(seen.state, seen.shape), seen.parked)


def _folded(kind: type[S], rows: Sequence[asyncpg.Record]) -> Seen[S] | None:
    """A row with its tail, one record for each event of it; None where not even its first can be folded.

    Raises `UnknownEvent` for a row that this program cannot read.
    """
    if not rows:
        return None
    row = rows[0]
    tail = [recorded_event(row) for row in rows if row["position"] is not None]
    state: State | None = None
    version, shape = 0, None
    if row["state"] is not None and not _whole(tail, row["row_version"]):
        state, version = decode_state(kind, row["state"], row["id"]), row["row_version"]
        written = shape_of(row["state"])
        shape = written if written.number < SHAPES[kind].number else None
    parked: str | None = None
    for event in tail:
        if event.version <= version:  # asked for all of the stream, of which some is not there any more
            continue
        try:
            state = fold(state, event)
        except UnknownEvent as error:
            parked = str(error)
            break
        version = event.version
    if state is None:
        return None
    return Seen(row["id"], row["project_id"], version, cast(S, state), row["hidden"], parked, shape)


def _whole(tail: Sequence[RecordedEvent], version: int) -> bool:
    """Whether these are all events of a stream up to a version: old ones may have left the database."""
    return len(tail) >= version and all(event.version == n for n, event in enumerate(tail[:version], 1))
