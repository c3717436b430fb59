"""A Postgres server that runs, whoever runs it, and fresh databases on it."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from cli.embedded.postgres import LOGIN, OWNER

ROLE_PASSWORD = "batchmill-test"
"""Of the owner's and the application's role."""


@dataclass(frozen=True, slots=True)
class Database:
    """One database, and the three ways into it: as asyncpg takes them."""

    name: str
    superuser_url: str
    owner_url: str
    """What migrations run as: owns the database and may make roles, no superuser."""
    app_url: str
    """What the application runs as: may do what migrations granted it."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server, known by its superuser's URL."""

    superuser_url: str

    def database(self, name: str) -> Database:
        return Database(
            name=name,
            superuser_url=self._url(name, None),
            owner_url=self._url(name, OWNER),
            app_url=self._url(name, LOGIN),
        )

    @asynccontextmanager
    async def new_database(self, template: str = "template1") -> AsyncIterator[Database]:
        """A database made from `template` with all its content and role settings, dropped at the end."""
        name = f"batchmill_test_{secrets.token_hex(6)}"
        connection = await asyncpg.connect(self.superuser_url)
        try:
            await connection.execute(
                f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template} STRATEGY FILE_COPY"
            )
            try:
                await _copy_role_settings(connection, template, name)
                yield self.database(name)
            finally:
                await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await connection.close()

    async def ensure_roles(self) -> None:
        """Make the owner's and the application's role as an operator would for a server of one's own."""
        connection = await asyncpg.connect(self.superuser_url)
        try:
            roles = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
            if OWNER not in roles:
                await connection.execute(f"CREATE ROLE {OWNER}")
            await connection.execute(f"ALTER ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{ROLE_PASSWORD}'")
            if LOGIN not in roles:
                await connection.execute(f"CREATE ROLE {LOGIN}")
                await connection.execute(f"GRANT {LOGIN} TO {OWNER} WITH ADMIN OPTION")
            await connection.execute(f"ALTER ROLE {LOGIN} LOGIN PASSWORD '{ROLE_PASSWORD}'")
        finally:
            await connection.close()

    def _url(self, database: str, role: str | None) -> str:
        parts = urlsplit(self.superuser_url)
        where = parts.netloc
        if role is not None:
            where = f"{role}:{ROLE_PASSWORD}@{where.rpartition('@')[2]}"
        return urlunsplit(parts._replace(netloc=where, path=f"/{database}"))


async def _copy_role_settings(connection: asyncpg.Connection, template: str, name: str) -> None:
    """Give `name` the settings that roles have in `template`: CREATE DATABASE leaves them out."""
    rows = await connection.fetch(
        """
        SELECT rolname, unnest(setconfig) AS setting
          FROM pg_db_role_setting
          JOIN pg_database ON pg_database.oid = setdatabase
          JOIN pg_roles ON pg_roles.oid = setrole
         WHERE datname = $1
        """,
        template,
    )
    for row in rows:
        key, _, value = row["setting"].partition("=")
        quoted = value.replace("'", "''")
        await connection.execute(f"ALTER ROLE {row['rolname']} IN DATABASE {name} SET {key} = '{quoted}'")
