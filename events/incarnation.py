"""Which incarnation of the log this is: after a restore that lost transactions, a new one is begun."""

from typing import Final
from uuid import UUID

from events.database import Database
from events.statements import load_statements

_SQL: Final = load_statements("events", "sql/incarnation.sql")


async def current_incarnation(database: Database) -> UUID:
    """The id that names the log in cursors, checkpoints and CloudEvents. Raises `DatabaseUnavailable`."""
    async with database.reading() as connection:
        id: UUID = await connection.fetchval(_SQL["newest"])
        return id
