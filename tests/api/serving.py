"""The API on a real socket, over a real Postgres and a real folder, in a thread of its own.

No engine runs beside it: batches stay in validation unless a test records more of their history.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import uvicorn
import uvloop

from api.app import create_app
from api.audit.services import AuditServices
from api.http_protocol import EnvelopeProtocol
from api.model_source import ModelObject, ModelsUnavailable
from api.services import ApiOptions, ApiServices
from api.webhooks.services import WebhookServices
from engine.audit.sealer import Sealer
from engine.audit.signer import KeySigner
from engine.audit.witnesses import Witnesses
from engine.webhooks.poster import WebhookPoster
from events.batch import Batch, BatchEvent, BatchStarted, LinesCompleted, Usage
from events.buses.local_bus import LocalBus
from events.catalog import new_event
from events.database import Database
from events.event import Attachment
from events.inputs.planning import Plan, Planning
from events.inputs.validator import LineRules
from events.journal import Decision, Journal
from events.key import CreateKey, KeyRestricted, decide, describe_secret, fresh_secret
from events.log import Board, Row
from events.outcomes.lines import LineOutcome, pack_block, pack_facts, root_digest
from events.postgres_log import PostgresLog
from events.read_models import ReadModels
from events.webhooks.deliveries import WebhookDeliveries
from events.webhooks.public_address import AddressRule
from events.webhooks.secret import WebhookKey
from events.work import WorkBoard
from storage.local_folder import LocalFolder
from storage.store import Store
from tests.api.client import Client
from tests.events.audit.bundle.bundles import KEY
from tests.postgres import PostgresServer

T = TypeVar("T")

MIB = 1 << 20
BEGAN_MS = 1_790_000_000_000
RULE = AddressRule([ip_network("127.0.0.0/8")])
WEBHOOK_KEY = WebhookKey("the key of this installation")
OPTIONS = ApiOptions(
    max_batch_file_bytes=2 * MIB,
    max_file_bytes=4 * MIB,
    max_part_bytes=MIB,
    completion_windows=("24h", "5s", "2d-7d"),
    free_space_floor=MIB,
)


class KnownModels:
    """A model list that a test can change or take away."""

    def __init__(self) -> None:
        self.ids: list[str] | None = ["small", "org/large"]

    async def list(self) -> Sequence[ModelObject]:
        if self.ids is None:
            raise ModelsUnavailable("The upstream http://gpu:8000/v1 does not answer.")
        return [ModelObject(id=id) for id in self.ids]


class SwitchableStore:
    """A store in front of the real one, with what a test makes of it: its free space, or no answer at all."""

    def __init__(self, store: Store) -> None:
        self.real = store
        self.free: int | None = None
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> Any:  # the port's methods, as they are
        if self.failure is not None:
            raise self.failure
        return getattr(self.real, name)

    async def free_space(self) -> int | None:
        return self.free if self.free is not None else await self.real.free_space()


class Project:
    """A project with a key of its own."""

    def __init__(self, id: str, key_id: str, key: str, port: int) -> None:
        self.id = id
        self.key_id = key_id
        self.key = key
        self.client = Client(port, key)


class Served:
    """A running API, as its tests see it."""

    def __init__(self, port: int, services: ApiServices, store: SwitchableStore, folder: Path) -> None:
        self.port = port
        self.journal = services.journal
        self.board = services.board
        self.models = services.models
        self.audit = services.audit
        self.store = store
        self.rates = services.rates
        self.arrivals = services.arrivals
        self.token_room = services.token_room
        self.deliveries = services.webhooks.deliveries
        self.streams = services.streams
        self.folder = folder
        self.loop = asyncio.get_running_loop()

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine where the server runs, and waits for it."""
        return asyncio.run_coroutine_threadsafe(job, self.loop).result(60)

    def project(self, id: str | None = None, restricted: KeyRestricted | None = None) -> Project:
        """A project, new unless it is named, with a new key."""
        project_id, key_id, secret = id or f"project-{uuid4().hex}", f"key_{uuid4().hex}", fresh_secret()
        described = describe_secret(secret)
        self.run(
            self.journal.record(
                Decision(
                    [
                        new_event(key_id, project_id, event)
                        for event in decide(None, CreateKey(described, restricted))
                    ],
                    rows=[Row("key", key_id, project_id, label=described.sha256)],
                    expect={key_id: 0},
                )
            )
        )
        return Project(project_id, key_id, secret, self.port)

    def happen(self, batch_id: str, *events: BatchEvent, board: Board | None = None) -> None:
        """Records of a batch what an engine would."""
        seen = self.run(self.journal.models.get(Batch, batch_id))
        recorded = [new_event(batch_id, seen.project_id, event) for event in events]
        self.run(self.journal.record(Decision(recorded, board=board, expect={batch_id: seen.version})))

    def start(self, batch_id: str, content: bytes) -> None:
        """Records that an input, of which `content` is all, is valid, with the index of its lines."""
        seen = self.run(self.journal.models.get(Batch, batch_id))
        with Planning(LineRules(seen.state.created.endpoint), self.folder) as planning:
            planning.feed(content)
            plan = planning.finish(lambda start, end: content[start:end])
            assert isinstance(plan, Plan), plan
            blocks = tuple(Attachment(pack_block([block])) for block in planning.take_blocks())
        started = BatchStarted(plan.total, plan.model, plan.estimated_tokens)
        recorded = new_event(batch_id, seen.project_id, started, attachments=blocks)
        self.run(self.journal.record(Decision([recorded])))

    def record(self, batch_id: str, *outcomes: LineOutcome, worker: str = "worker-1") -> None:
        """Records outcomes of lines, in ascending order, as one flush."""
        lines, results = [outcome.line for outcome in outcomes], [outcome.result for outcome in outcomes]
        attachment = Attachment(pack_block(results))
        event = LinesCompleted(
            claim="a-secret-token",
            worker=worker,
            completed=sum(outcome.succeeded for outcome in outcomes),
            failed=sum(not outcome.succeeded for outcome in outcomes),
            usage=sum((outcome.usage for outcome in outcomes), Usage()),
            began_ms=BEGAN_MS,
            root=root_digest(lines, results, attachment.salt),
        )
        seen = self.run(self.journal.models.get(Batch, batch_id))
        facts = pack_facts(outcomes, BEGAN_MS)
        recorded = new_event(batch_id, seen.project_id, event, lines=facts, attachments=(attachment,))
        self.run(self.journal.record(Decision([recorded])))

    def seal(self) -> None:
        """Seals all that is recorded, as a leader does."""
        self.run(self._seal())

    async def _seal(self) -> None:
        leader = await self.board.take_leadership(f"sealer {uuid4()}", None)
        assert leader is not None
        sealer = Sealer(self.journal, self.audit.records, self.store.real, KeySigner([KEY]), Witnesses([]))
        await sealer.seal(await sealer.open(leader), leader)

    def stored(self) -> set[Path]:
        """Every file in the store's folder, drafts too."""
        return {path for path in self.folder.rglob("*") if path.is_file()}


@asynccontextmanager
async def listening(
    database_url: str,
    folder: Path,
    options: ApiOptions,
    key: WebhookKey | None = WEBHOOK_KEY,
    poster: type[WebhookPoster] = WebhookPoster,
) -> AsyncIterator[Served]:
    """The API on a free port of this process, served by the running loop; `poster` is who calls webhooks."""
    database = await Database.open(database_url)
    store = SwitchableStore(LocalFolder(folder))
    post = poster(RULE, "batchmill/test", timeout=2.0)
    services = ApiServices(
        Journal(PostgresLog(database, store), ReadModels(database), LocalBus()),
        WorkBoard(database),
        store,
        KnownModels(),
        WebhookServices(WebhookDeliveries(database), post, RULE, key),
        AuditServices.over(database, store),
        options,
    )
    config = uvicorn.Config(
        create_app(services),
        http=EnvelopeProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as port:
        task = asyncio.create_task(server.serve(sockets=[port]))
        try:
            yield Served(port.getsockname()[1], services, store, folder)
        finally:
            server.should_exit = True
            await task
            await post.close()
            await store.real.close()
            await database.close()


@contextmanager
def serving(
    postgres: PostgresServer,
    template: str,
    folder: Path,
    options: ApiOptions = OPTIONS,
    poster: type[WebhookPoster] = WebhookPoster,
) -> Iterator[Served]:
    """The API over a fresh database, served by a thread."""
    started: Future[tuple[Served, asyncio.Event]] = Future()

    async def serve() -> None:
        try:
            async with (
                postgres.new_database(template) as fresh,
                listening(fresh.app_url, folder, options, poster=poster) as served,
            ):
                stop = asyncio.Event()
                started.set_result((served, stop))
                await stop.wait()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=lambda: uvloop.run(serve()), name="api")
    thread.start()
    try:
        served, stop = started.result(60)
        yield served
        served.loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join(60)
