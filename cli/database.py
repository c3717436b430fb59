"""The database of the settings, for whoever needs no more than that: embedded, or named by a URL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

import msgspec

from cli.embedded.data_folder import DataFolder, running_database_url
from cli.embedded.postgres import DatabaseUrls, EmbeddedPostgres
from cli.encryption_parts import data_keys_of
from cli.logs import set_up_logs
from cli.settings import Settings
from events.buses.local_bus import LocalBus
from events.database import Database
from events.errors import SettingsError
from events.journal import Journal
from events.migrate import may_migrate, migrate, require_schema
from events.postgres_log import PostgresLog
from events.read_models import ReadModels
from storage.store import Store


class DatabaseLogins(msgspec.Struct, frozen=True):
    """URLs of one database: the application's login, and the owner that migrates. `running`: a server has
    it open and has migrated it."""

    application: str
    owner: str
    running: bool = False

    @classmethod
    def named(cls, url: str, owner_url: str | None) -> "DatabaseLogins":
        """Those that the settings name: an operator may have one for everything."""
        return cls(application=url, owner=owner_url or url)

    @classmethod
    def embedded(cls, urls: DatabaseUrls) -> "DatabaseLogins":
        """Those of an embedded database."""
        return cls(application=urls.login, owner=urls.owner)


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[DatabaseLogins]:
    """The database alone, for commands that work on it: the one named by the settings, the running embedded
    one, or the embedded one started for as long as the block runs. What is logged meanwhile goes to standard
    error: a command's output is its own."""
    set_up_logs(settings.log_level, settings.log_format)
    if settings.database_url is not None:
        yield DatabaseLogins.named(settings.database_url, settings.database_owner_url)
    elif (running := running_database_url(settings.data_dir)) is not None:
        yield DatabaseLogins(application=running, owner=running, running=True)
    else:
        with DataFolder.open(settings.data_dir) as folder:
            async with EmbeddedPostgres(folder) as urls:
                yield DatabaseLogins.embedded(urls)


@asynccontextmanager
async def open_records(
    settings: Settings, store: Store | None = None
) -> AsyncIterator[tuple[Database, Journal]]:
    """The database, up to date, and the journal over it, for a command that records or reads and runs
    nothing; with the storage for one that reads of batches that ended long ago."""
    async with open_database(settings) as logins:
        await bring_up_to_date(logins)
        database = await Database.open(logins.application, connections=4, patience=settings.append_timeout)
        try:
            log = PostgresLog(database, store, data_keys_of(settings, database))
            yield database, Journal(log, ReadModels(database), LocalBus())
        finally:
            await database.close()


async def bring_up_to_date(logins: DatabaseLogins) -> None:
    """Migrates the database. Where the application's login is the only one, and may not, it is enough that
    `batchmill migrate` has done it. Raises as `migrate` and `require_schema`."""
    if logins.running:
        return
    if logins.owner != logins.application or await may_migrate(logins.owner):
        await migrate(logins.owner, user_of(logins.application))
    else:
        await require_schema(logins.application)


def user_of(url: str) -> str:
    """The login of a database URL; migrations give it its rights."""
    user = urlsplit(url).username
    if not user:
        raise SettingsError("database_url names no user: write postgresql://user:password@host/database")
    return unquote(user)
