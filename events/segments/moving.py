"""Which events may be moved to storage, and what takes them out of the log when they are there."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, cast

from events.audit.digests import LogRow
from events.database import Database
from events.errors import SettingsError
from events.failpoint import at
from events.statements import load_statements

_SQL: Final = load_statements("events", "sql/segments.sql")


class Place(NamedTuple):
    """Whose the event at a position is, and whether it is of a kind that may be moved."""

    position: int
    stream_id: str
    of_lines: bool


class Moving:
    """Over a `Database` with the owner's login; every method raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def require_right(self) -> None:
        """Raises `SettingsError` for a login that may not prune."""
        async with self._database.reading() as connection:
            if not await connection.fetchval(_SQL["may_prune"]):
                raise SettingsError(
                    "the database's login may not prune the log: give the owner's in database_owner_url"
                )

    async def now(self) -> datetime:
        """The time it is by the clock of the database."""
        async with self._database.reading() as connection:
            return cast(datetime, await connection.fetchval(_SQL["now"]))

    async def places(self, after: int, upto: int, limit: int) -> list[Place]:
        """The next rows of the log behind a position, up to another."""
        async with self._database.reading() as connection:
            return [Place(*row) for row in await connection.fetch(_SQL["places"], after, upto, limit)]

    async def movable(self, streams: Sequence[str], before: datetime) -> set[str]:
        """Which of some batches may be moved: ended before a moment, their results and bodies gone."""
        async with self._database.reading() as connection:
            return {row["id"] for row in await connection.fetch(_SQL["movable"], list(streams), before)}

    async def rows(self, positions: Sequence[int]) -> list[LogRow]:
        """The events at these positions."""
        async with self._database.reading() as connection:
            return [LogRow(*row) for row in await connection.fetch(_SQL["rows"], list(positions))]

    async def prune(self, rows: Sequence[LogRow], name: str, sha256: bytes, size: int) -> None:
        """Deletes events that the object `name`, of this digest and size, holds. Raises `BatchmillError`
        where the database finds that one of them may not go, or is gone."""
        await at("prune.before")
        positions, digests = [row.position for row in rows], [row.digest for row in rows]
        async with self._database.writing() as connection:
            await connection.fetchval(_SQL["prune"], positions, digests, name, sha256, size)
        await at("prune.after")
