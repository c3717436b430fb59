"""Brings a database to this program's schema, and refuses one that does not fit.

Each migration is one plain SQL file in `migrations/`, applied in one transaction, its digest kept. Its
header says the oldest program that can still use the schema after it: only an older one is refused. Safe
when several processes start at once (one advisory lock a database), which may share the steps between them,
and when several databases of one cluster migrate at once (the role is the cluster's). Nothing is kept in the
session, which may be a bouncer's.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata, resources
from typing import Final

import asyncpg
import msgspec

from events.database import CONNECT_SECONDS, LOST, errors_as_ours, single_connection
from events.errors import DatabaseUnavailable, SchemaRefused

ROLE: Final = "batchmill_app"
PATIENCE: Final = "2s"
"""How long a step waits for a lock before it stands back: whoever comes after it waits behind it."""
TRIES: Final = 60
"""Of a step whose locks others hold."""
PAUSE: Final = 1.0
"""Seconds between two of them."""
_LOCK: Final = 7022079500
_NAME: Final = re.compile(r"^(\d{4})_\w+\.sql$")
_OLDEST: Final = re.compile(r"^-- oldest program: (\d+(?:\.\d+)*)$", re.MULTILINE)
_TIMEOUTS: Final = {
    "statement_timeout": "30s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    # Servers have it from 17 on: a call whose last bytes never come has run, and holds what it has locked.
    "transaction_timeout": "35s",
}
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, oldest_program text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp())
"""


class Migration(msgspec.Struct, frozen=True):
    """One numbered step; `oldest` is the oldest program version that can use the schema after it."""

    number: int
    name: str
    sql: str
    oldest: str

    @property
    def sha256(self) -> str:
        """The hex digest of its text: a migration, once applied anywhere, never changes."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def program_version() -> str:
    """The version of the running program."""
    return metadata.version("batchmill")


def migrations() -> list[Migration]:
    """All steps in order. Raises `SchemaRefused` for a file whose header does not say its oldest program."""
    steps = []
    for file in sorted(resources.files("migrations").iterdir(), key=lambda file: file.name):
        if match := _NAME.match(file.name):
            sql = file.read_text("utf-8")
            oldest = _OLDEST.search(sql)
            if oldest is None:
                raise SchemaRefused(f"migration {file.name} does not say '-- oldest program: X.Y.Z'")
            steps.append(Migration(int(match[1]), file.name, sql, oldest[1]))
    return steps


async def migrate(owner_url: str, app_login: str, *, program: str | None = None) -> list[str]:
    """Has everything applied that is missing, and gives `app_login` the application's rights; returns the
    names applied here.

    Raises `SchemaRefused` for a schema that needs a newer program or that was changed by hand, and where the
    login lacks the rights; `DatabaseUnavailable` where the database cannot be reached.
    """
    connection = await single_connection(owner_url)
    try:
        async with _alone(connection):
            await connection.execute(_TABLE)
            await _refuse_what_does_not_fit(connection, program or program_version())
            await _make_role(connection, app_login)
        applied = []
        while step := await _apply_next_patiently(connection):
            applied.append(step.name)
        return applied
    except LOST as error:
        raise DatabaseUnavailable(f"the database went away in a migration; run it again: {error}") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaRefused(
            f"this login may not migrate ({error}): give one that owns the database and may make roles in "
            "BATCHMILL_DATABASE_OWNER_URL"
        ) from error
    finally:
        await asyncio.shield(connection.close(timeout=10))


async def may_migrate(url: str) -> bool:
    """Whether this login may change the schema. Raises `DatabaseUnavailable` and `LogBusy`."""
    connection = await single_connection(url, answers_within=CONNECT_SECONDS)
    try:
        with errors_as_ours():
            return bool(await connection.fetchval("SELECT has_schema_privilege(current_schema(), 'CREATE')"))
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


async def require_schema(url: str, *, program: str | None = None) -> None:
    """Raises `SchemaRefused` unless the database has this program's schema, or a newer one it can use, and
    `DatabaseUnavailable` or `LogBusy` where it does not say."""
    connection = await single_connection(url, answers_within=CONNECT_SECONDS)
    try:
        with errors_as_ours():
            await _refuse_what_does_not_fit(connection, program or program_version())
            known = {m.number for m in migrations()}
            applied = {
                row["number"] for row in await connection.fetch("SELECT number FROM schema_migrations")
            }
        if known - applied:
            raise SchemaRefused(
                f"the database lacks migrations {sorted(known - applied)}: run `batchmill migrate`"
            )
    except asyncpg.UndefinedTableError as error:
        raise SchemaRefused("the database has no schema yet: run `batchmill migrate`") from error
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


async def _refuse_what_does_not_fit(connection: "asyncpg.Connection[asyncpg.Record]", program: str) -> None:
    known = {m.number: m for m in migrations()}
    for row in await connection.fetch("SELECT number, name, sha256, oldest_program FROM schema_migrations"):
        if _parts(program) < _parts(row["oldest_program"]):
            raise SchemaRefused(
                f"the database is at migration {row['name']}, which needs batchmill {row['oldest_program']} "
                f"or newer; this is {program}: upgrade the program"
            )
        ours = known.get(row["number"])
        if ours is not None and ours.sha256 != row["sha256"]:
            raise SchemaRefused(
                f"migration {row['name']} was applied with another text than this program's {ours.name}: "
                "the database belongs to another build; restore it from that build, or use another database"
            )


@asynccontextmanager
async def _alone(connection: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    """A transaction, as long as it takes, beside which no other migrates the database."""
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        await connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
        yield


async def _apply_next_patiently(connection: "asyncpg.Connection[asyncpg.Record]") -> Migration | None:
    """Stands back where others hold what a step must lock, and tries again. Raises `DatabaseUnavailable`."""
    for _ in range(TRIES):
        try:
            return await _apply_next(connection)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            held = str(error)
            await asyncio.sleep(PAUSE)
    raise DatabaseUnavailable(
        f"a migration found its table locked {TRIES} times ({held}): see who holds it in pg_stat_activity "
        "(a dump, a long transaction), and run it again"
    )


async def _apply_next(connection: "asyncpg.Connection[asyncpg.Record]") -> Migration | None:
    """Applies the first migration that is missing; a transaction each, so that a running program meets as few
    locks as possible."""
    async with _alone(connection):
        applied = {row["number"] for row in await connection.fetch("SELECT number FROM schema_migrations")}
        step = next((step for step in migrations() if step.number not in applied), None)
        if step is not None:
            await connection.execute(step.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (number, name, sha256, oldest_program)"
                " VALUES ($1, $2, $3, $4)",
                step.number,
                step.name,
                step.sha256,
                step.oldest,
            )
        return step


async def _make_role(connection: "asyncpg.Connection[asyncpg.Record]", app_login: str) -> None:
    """Makes the role, grants it to the login, and sets the login's time-outs in this database.

    Roles belong to the whole cluster: another database's migration may do the same at this moment, which
    Postgres reports in several ways; the next look then finds it done.
    """
    for attempt in range(10):
        try:
            async with connection.transaction():  # within the one around it: a try that fails spoils nothing
                await _try_to_make_role(connection, app_login)
            return
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError, asyncpg.InternalServerError):
            await asyncio.sleep(0.05 * (attempt + 1))
    raise SchemaRefused(f"could not make the role {ROLE}: other migrations kept changing it; run it again")


async def _try_to_make_role(connection: "asyncpg.Connection[asyncpg.Record]", app_login: str) -> None:
    database = await connection.fetchval("SELECT current_database()")
    owner = await connection.fetchval("SELECT current_user")
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE):
        await connection.execute(f"CREATE ROLE {ROLE} NOLOGIN")
    if not await connection.fetchval("SELECT pg_has_role($1, $2, 'MEMBER')", app_login, ROLE):
        await connection.execute(f"GRANT {ROLE} TO {_quoted(app_login)}")
    if app_login != owner:
        login_here = f"{_quoted(app_login)} IN DATABASE {_quoted(database)}"
        known = await connection.fetch("SELECT name FROM pg_settings WHERE name = ANY ($1)", list(_TIMEOUTS))
        for name in (row["name"] for row in known):
            await connection.execute(f"ALTER ROLE {login_here} SET {name} = '{_TIMEOUTS[name]}'")


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
