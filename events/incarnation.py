"""Which incarnation of the log this is: after a restore that lost transactions, a new one is begun.

Its id is made of what is told of it, and of the id before. It is in the name of the log, which is part of
each checkpoint: so whoever signs a checkpoint signs why, when and where the log was forked, too.
"""

import asyncio
import struct
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from events.database import Database, errors_as_ours, single_connection
from events.errors import SettingsError
from events.event import length_prefixed
from events.log import Incarnation
from events.statements import load_statements

_SQL: Final = load_statements("events", "sql/incarnation.sql")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MADE: Final = 8
"""The version of a UUID that is made of something. The first id of a log is drawn, and so were all of them by
earlier programs."""


class Begun(msgspec.Struct, frozen=True):
    """What the database tells of an incarnation; `position` is the last that it took over."""

    id: UUID
    position: int
    reason: str
    started_at: datetime

    def is_as_begun(self, before: UUID | None) -> bool:
        """Whether nothing of it was changed since, as far as its id tells; `before` is the one before."""
        return self.id.version != MADE or self.id == made_id(
            before, self.position, self.reason, self.started_at
        )


def made_id(before: UUID | None, position: int, reason: str, started_at: datetime) -> UUID:
    """The id of an incarnation that follows another."""
    microseconds = (started_at - _EPOCH) // timedelta(microseconds=1)
    digest = sha256(
        b"incarnation\n"
        + length_prefixed(
            [
                None if before is None else before.bytes,
                struct.pack(">qq", position, microseconds),
                reason.encode(),
            ]
        )
    ).digest()
    number = int.from_bytes(digest[:16], "big") & ~(0xF << 76 | 0x3 << 62)
    return UUID(int=number | MADE << 76 | 0x2 << 62)


async def current_incarnation(database: Database) -> UUID:
    """The id that names the log in cursors, checkpoints and CloudEvents. Raises `DatabaseUnavailable`."""
    async with database.reading() as connection:
        id: UUID = await connection.fetchval(_SQL["newest"])
        return id


async def begin_incarnation(url: str, reason: str) -> Incarnation:
    """Begins a new one in the database at `url`, the owner's login; programs that run go on in it.

    Raises `SettingsError` for a login that may not, `DatabaseUnavailable`, and `LogBusy`.
    """
    connection = await single_connection(url)
    try:
        with errors_as_ours():
            async with connection.transaction():
                await connection.execute(_SQL["pause"])
                row = await connection.fetchrow(_SQL["taken_over"])
                assert row is not None
                begun = Incarnation(made_id(row["id"], row["position"], reason, row["now"]), row["position"])
                await connection.execute(_SQL["begin"], begun.id, begun.position, reason, row["now"])
    except asyncpg.InsufficientPrivilegeError as error:
        raise SettingsError(
            "the database's login may not begin an incarnation: give the owner's in database_owner_url"
        ) from error
    finally:
        await asyncio.shield(connection.close(timeout=10))
    return begun
