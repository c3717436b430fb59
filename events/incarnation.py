"""Which incarnation of the log this is: after a restore that lost transactions, a new one is begun."""

import asyncio
from typing import Final
from uuid import UUID

import asyncpg

from events.database import Database, errors_as_ours, single_connection
from events.errors import SettingsError
from events.log import Incarnation
from events.statements import load_statements

_SQL: Final = load_statements("events", "sql/incarnation.sql")


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
                row = await connection.fetchrow(_SQL["begin"], reason)
    except asyncpg.InsufficientPrivilegeError as error:
        raise SettingsError(
            "the database's login may not begin an incarnation: give the owner's in database_owner_url"
        ) from error
    finally:
        await asyncio.shield(connection.close(timeout=10))
    assert row is not None
    return Incarnation(row["id"], row["position"])
