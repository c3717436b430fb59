"""The composition root: opens what a command needs, embedded or named by a URL, and closes it in reverse.

settings ──▶ data folder ─▶ database ─▶ migrations ─▶ log, read models, board, bus, store ──▶ Stack
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import structlog

from cli.embedded.data_folder import DataFolder, running_database_url
from cli.embedded.postgres import EmbeddedPostgres
from cli.logs import set_up_logs
from cli.settings import Settings
from engine.engine import LEADERSHIP, Engine
from engine.http_upstream import HttpUpstream
from engine.options import EngineOptions
from engine.routes import Route
from engine.upstream import Upstream
from events.database import Database
from events.errors import SettingsError
from events.journal import Journal
from events.local_bus import LocalBus
from events.migrate import may_migrate, migrate, require_schema
from events.postgres_log import PostgresLog
from events.read_models import ReadModels
from events.work import WorkBoard
from storage.object_store import open_store
from storage.store import Store

_logger = structlog.get_logger()
DEFAULT_ROUTE = "default"
Watch = Callable[[], Coroutine[None, None, None]]


class DatabaseLogins(msgspec.Struct, frozen=True):
    """URLs of one database: the application's login, and the owner that migrates. `running`: a server has
    it open and has migrated it."""

    application: str
    owner: str
    running: bool = False


class Stack(msgspec.Struct, frozen=True):
    """What is open. `watch` runs as long as all is well, and raises when an embedded part dies."""

    database: Database
    journal: Journal
    board: WorkBoard
    store: Store
    spill: Path
    watch: Watch


@asynccontextmanager
async def open_stack(settings: Settings) -> AsyncIterator[Stack]:
    """Everything `serve` and `run` work with. Holds the data folder's lock; where the database is embedded,
    whoever held claims or led before is known to be dead, and everything is free at once."""
    async with AsyncExitStack() as closing:
        folder = closing.enter_context(DataFolder.open(settings.data_dir))
        logins, watch = await _database(settings, folder, closing)
        await bring_up_to_date(logins)
        if settings.database_url is not None and await may_migrate(logins.application):
            _logger.warning(
                "the application's login may change the schema and so the log: give it one of its own in "
                "database_url, and the owner's in database_owner_url"
            )
        database = await Database.open(
            logins.application, connections=settings.database_connections, patience=settings.append_timeout
        )
        closing.push_async_callback(database.close)
        store = open_store(settings.storage_url or folder.files.as_uri())
        closing.push_async_callback(store.close)
        bus = LocalBus()
        closing.push_async_callback(bus.close)
        board = WorkBoard(database)
        if settings.database_url is None:
            await board.void_claims(None)
            await board.leave_leadership(LEADERSHIP, None)
        journal = Journal(PostgresLog(database), ReadModels(database), bus)
        yield Stack(database, journal, board, store, folder.spill, watch)


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[DatabaseLogins]:
    """The database alone, for commands that work on it: the one named by the settings, the running embedded
    one, or the embedded one started for as long as the block runs. What is logged meanwhile goes to standard
    error: a command's output is its own."""
    set_up_logs(settings.log_level, settings.log_format)
    async with AsyncExitStack() as closing:
        running = None if settings.database_url else running_database_url(settings.data_dir)
        if running is not None:
            yield DatabaseLogins(application=running, owner=running, running=True)
            return
        if settings.database_url is not None:
            yield _external(settings.database_url, settings.database_owner_url)
            return
        folder = closing.enter_context(DataFolder.open(settings.data_dir))
        logins, _ = await _database(settings, folder, closing)
        yield logins


async def _database(
    settings: Settings, folder: DataFolder, closing: AsyncExitStack
) -> tuple[DatabaseLogins, Watch]:
    if settings.database_url is not None:
        return _external(settings.database_url, settings.database_owner_url), _forever
    postgres = EmbeddedPostgres(folder)
    urls = await closing.enter_async_context(postgres)
    return DatabaseLogins(application=urls.login, owner=urls.owner), postgres.watch


def _external(url: str, owner_url: str | None) -> DatabaseLogins:
    return DatabaseLogins(application=url, owner=owner_url or url)


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


async def _forever() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def open_engine(settings: Settings, stack: Stack) -> AsyncIterator[Engine]:
    """The engine over an open stack, with its upstream; not running yet."""
    routes: list[tuple[Route, Upstream]] = []
    async with AsyncExitStack() as closing:
        if settings.upstream_url is not None:
            upstream = HttpUpstream(
                settings.upstream_url,
                settings.upstream_api_key,
                connect_timeout=settings.connect_timeout,
                read_timeout=settings.read_timeout,
                answer_cap=settings.answer_cap,
            )
            closing.push_async_callback(upstream.close)
            routes.append((Route(DEFAULT_ROUTE, upstream.url), upstream))
        yield Engine(stack.journal, stack.board, stack.store, routes, _engine_options(settings, stack))


def _engine_options(settings: Settings, stack: Stack) -> EngineOptions:
    own = ("spill_folder", "poll", "result_files_expire")
    shared = {name: getattr(settings, name) for name in EngineOptions.__struct_fields__ if name not in own}
    return EngineOptions(spill_folder=stack.spill, **shared)
