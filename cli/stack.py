"""The composition root: opens what a command needs, embedded or named by a URL, and closes it in reverse.

settings ──▶ data folder ─▶ database ─▶ migrations ─▶ log, read models, board, bus, store ──▶ Stack ──▶ Engine

A stack of one's own may have its database and files embedded; a shared one is named by URLs alone, and any
number of processes stand on it.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import structlog

from cli.audit.parts import open_witnesses, own_signer, signer_of
from cli.database import DatabaseLogins, bring_up_to_date
from cli.embedded.data_folder import DataFolder, kept_webhook_key
from cli.embedded.postgres import EmbeddedPostgres
from cli.encryption_parts import open_contents
from cli.settings import Settings
from cli.webhook_parts import open_post, webhook_key
from engine.audit.sealer import Sealer
from engine.audit.signer import Signer
from engine.engine import EVERY_ROLE, LEADERSHIP, Engine, Role
from engine.http_upstream import HttpUpstream
from engine.options import EngineOptions
from engine.routes import Route
from engine.upstream import Upstream
from engine.webhooks.announcer import WebhookAnnouncer
from engine.webhooks.sender import WebhookSender
from events.audit.records import AuditRecords
from events.bus import Bus
from events.buses.local_bus import LocalBus
from events.buses.rabbit_bus import RabbitBus
from events.buses.relay import Relay
from events.buses.topology import Topology
from events.database import Database
from events.errors import SettingsError
from events.follower import Handle
from events.incarnation import current_incarnation
from events.journal import Journal
from events.migrate import may_migrate
from events.postgres_log import PostgresLog
from events.read_models import ReadModels
from events.webhooks.deliveries import WebhookDeliveries
from events.webhooks.secret import WebhookKey
from events.work import WorkBoard
from storage.data_key import DataKeys
from storage.object_store import open_store
from storage.store import Store

_logger = structlog.get_logger()
DEFAULT_ROUTE = "default"
BROKER_PATIENCE = 2.0
"""Seconds that a start waits for a broker; without one it goes on."""
Watch = Callable[[], Coroutine[None, None, None]]


class Stack(msgspec.Struct, frozen=True):
    """What is open. `watch` runs as long as all is well, and raises when an embedded part or the bus dies.
    `followers` are what a leader runs for others, by the names of their checkpoints. Without a `webhook_key`
    there are no webhooks."""

    database: Database
    journal: Journal
    board: WorkBoard
    store: Store
    spill: Path
    watch: Watch
    followers: Mapping[str, Handle]
    deliveries: WebhookDeliveries
    webhook_key: WebhookKey | None
    audit: AuditRecords
    signer: Signer | None
    data_keys: DataKeys


@asynccontextmanager
async def open_stack(settings: Settings) -> AsyncIterator[Stack]:
    """Everything `serve` and `run` work with. Holds the data folder's lock; where the database is embedded,
    whoever held claims or led before is known to be dead, and everything is free at once."""
    async with AsyncExitStack() as closing:
        folder = closing.enter_context(DataFolder.open(settings.data_dir))
        logins, watch = await _database(settings, folder, closing)
        await bring_up_to_date(logins)
        storage = settings.storage_url or folder.files.as_uri()
        own = settings.database_url is None
        key = webhook_key(settings, kept_webhook_key(folder.path) if own else None)
        signer = own_signer(settings) if own else signer_of(settings)
        stack = await _open(settings, logins.application, storage, folder.spill, watch, key, signer, closing)
        if settings.database_url is None:
            await stack.board.void_claims(None)
            await stack.board.leave_leadership(LEADERSHIP, None)
        yield stack


@asynccontextmanager
async def open_shared_stack(settings: Settings) -> AsyncIterator[Stack]:
    """What one process of many works with: no folder of its own, since what it spills goes to files without a
    name. Raises `SettingsError` for what is not shared."""
    database, storage = settings.database_url, settings.storage_url
    if database is None or storage is None:
        missing = [
            f"BATCHMILL_{name}"
            for name, url in (("DATABASE_URL", database), ("STORAGE_URL", storage))
            if not url
        ]
        raise SettingsError(
            f"{' and '.join(missing)} must be set: processes of one installation share a database and the "
            "storage of files (one process that has its own is `batchmill serve`)"
        )
    if settings.amqp_url is None:
        _logger.warning("no broker is set: work is found by polling; give BATCHMILL_AMQP_URL")
    async with AsyncExitStack() as closing:
        spill = Path(tempfile.gettempdir())
        logins = DatabaseLogins.named(database, settings.database_owner_url)
        await bring_up_to_date(logins)
        key = webhook_key(settings)
        signer = signer_of(settings)
        yield await _open(settings, logins.application, storage, spill, _forever, key, signer, closing)


async def _open(
    settings: Settings,
    database_url: str,
    storage: str,
    spill: Path,
    watch: Watch,
    key: WebhookKey | None,
    signer: Signer | None,
    closing: AsyncExitStack,
) -> Stack:
    if settings.database_url is not None and await may_migrate(database_url):
        _logger.warning(
            "the application's login may change the schema and so the log: give it one of its own in "
            "database_url, and the owner's in database_owner_url"
        )
    database = await Database.open(
        database_url,
        connections=settings.database_connections,
        patience=settings.append_timeout,
        statement_cache=settings.database_statement_cache,
    )
    closing.push_async_callback(database.close)
    objects = open_store(storage)
    closing.push_async_callback(objects.close)
    store, data_keys = await open_contents(settings, database, objects)
    if not settings.encrypt_bodies and await data_keys.wrapped_by():
        _logger.warning(
            "what is stored from now on is not encrypted, as earlier contents are: if that is not meant, set "
            "encrypt_bodies in every process"
        )
    bus: Bus
    watches, followers = [watch], dict[str, Handle]()
    if settings.amqp_url is None:
        bus = LocalBus()
        closing.push_async_callback(bus.close)
    else:
        rabbit = bus = RabbitBus(settings.amqp_url, Topology(settings.amqp_prefix))
        closing.push_async_callback(rabbit.close)
        await rabbit.connect(within=BROKER_PATIENCE)
        watches.append(rabbit.watch)
        followers["relay"] = _relay(rabbit, database).handle
    journal = Journal(PostgresLog(database, store, data_keys), ReadModels(database), bus)
    return Stack(
        database,
        journal,
        WorkBoard(database),
        store,
        spill,
        partial(_all_of, watches),
        followers,
        WebhookDeliveries(database),
        key,
        AuditRecords(database, store),
        signer,
        data_keys,
    )


def _relay(bus: RabbitBus, database: Database) -> Relay:
    topology = bus.topology
    return Relay(
        bus.publisher(topology.declare_all_events),
        topology.all_events,
        partial(current_incarnation, database),
    )


async def _all_of(watches: Sequence[Watch]) -> None:
    async with asyncio.TaskGroup() as group:
        for watch in watches:
            group.create_task(watch())


async def _database(
    settings: Settings, folder: DataFolder, closing: AsyncExitStack
) -> tuple[DatabaseLogins, Watch]:
    if settings.database_url is not None:
        return DatabaseLogins.named(settings.database_url, settings.database_owner_url), _forever
    postgres = EmbeddedPostgres(folder)
    return DatabaseLogins.embedded(await closing.enter_async_context(postgres)), postgres.watch


async def _forever() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def open_engine(
    settings: Settings, stack: Stack, roles: frozenset[Role] = EVERY_ROLE
) -> AsyncIterator[Engine]:
    """The engine over an open stack, with its upstream; not running yet."""
    async with (
        open_routes(settings) as routes,
        open_post(settings) as post,
        open_witnesses(settings) as witnesses,
    ):
        options = _engine_options(settings, stack)
        sender = WebhookSender(stack.journal, stack.deliveries, post, stack.webhook_key)
        announcer = WebhookAnnouncer(stack.journal.models, stack.deliveries, sender.wake)
        followers = {**stack.followers, "webhooks": announcer.handle}
        sealer = None
        if stack.signer is not None:
            sealer = Sealer(stack.journal, stack.audit, stack.store, stack.signer, witnesses)
        elif Role.LEAD in roles:
            _logger.warning("no audit key is set: the log is not sealed; give BATCHMILL_AUDIT_KEY_FILE")
        yield Engine(
            stack.journal,
            stack.board,
            stack.store,
            routes,
            options,
            roles,
            followers,
            sender,
            sealer,
            stack.audit,
        )


@asynccontextmanager
async def open_routes(settings: Settings) -> AsyncIterator[Sequence[tuple[Route, Upstream]]]:
    """The upstreams of the settings, each with its route."""
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
        yield routes


def _engine_options(settings: Settings, stack: Stack) -> EngineOptions:
    own = ("spill_folder", "poll", "result_files_expire", "limits")
    shared = {name: getattr(settings, name) for name in EngineOptions.__struct_fields__ if name not in own}
    return EngineOptions(spill_folder=stack.spill, limits=settings.limits, **shared)
