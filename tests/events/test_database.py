"""Connections to a real Postgres that ends them."""

import asyncpg

from events.database import Database
from events.errors import DatabaseUnavailable
from tests import postgres


async def test_a_server_that_ends_its_sessions_is_unavailable_for_a_moment_and_nothing_else(
    database: postgres.Database,
) -> None:
    ours, operator = await Database.open(database.app_url), await asyncpg.connect(database.superuser_url)
    outcomes: set[object] = set()
    try:
        for _ in range(12):
            await operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            for _ in range(3):
                try:
                    async with ours.writing() as connection:
                        outcomes.add(await connection.fetchval("SELECT 1"))
                except DatabaseUnavailable:
                    outcomes.add("unavailable")
    finally:
        await operator.close()
        await ours.close()
    assert outcomes <= {1, "unavailable"}
    assert 1 in outcomes
