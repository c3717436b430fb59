"""`batchmill worker`: the engine without the API, one of any number of processes on one database."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
from cyclopts import Parameter

from cli.parameters import Config
from cli.process import Ending, run_loop
from cli.settings import Settings
from cli.settings_sources import load

if TYPE_CHECKING:
    from cli.stack import Stack

_logger = structlog.get_logger()


def worker(
    *,
    roles: Annotated[str | None, Parameter(help="Some of lead, plan, run; all when not given.")] = None,
    upstream: Annotated[str | None, Parameter(help="The upstream, with its /v1.")] = None,
    upstream_key_file: Annotated[Path | None, Parameter(help="File with the upstream's key.")] = None,
    concurrency: Annotated[str | None, Parameter(help="Lines under way at once.")] = None,
    config: Config = None,
) -> None:
    """Run batches: plan them, hand out their lines, run these, write the results.

    Needs BATCHMILL_DATABASE_URL, a database that `batchmill migrate` has
    prepared, and BATCHMILL_STORAGE_URL. Any number of workers share the work;
    one of those that may lead hands it out. The broker that BATCHMILL_AMQP_URL
    names may be away: then they find work by polling.

    $ batchmill worker --upstream http://vllm:8000/v1
    $ batchmill worker --roles run --concurrency 256 --upstream http://vllm:8000/v1
    $ BATCHMILL_HEALTH_PORT=8081 batchmill worker --upstream http://vllm:8000/v1
    """
    flags = {
        "roles": roles,
        "upstream_url": upstream,
        "upstream_api_key_file": upstream_key_file,
        "concurrency": concurrency,
    }
    run_loop(_work(load(flags=flags, environ=os.environ, config=config).settings))


async def _work(settings: Settings) -> None:
    from cli.garbage import collect_less
    from cli.logs import set_up_logs
    from cli.stack import open_engine, open_shared_stack
    from engine.engine import Role
    from events.migrate import program_version

    set_up_logs(settings.log_level, settings.log_format)
    roles = frozenset(map(Role, settings.roles))
    async with AsyncExitStack() as closing:
        ending = closing.enter_context(Ending())
        stack = await closing.enter_async_context(open_shared_stack(settings))
        engine = await closing.enter_async_context(open_engine(settings, stack, roles))
        ending.on_hurry(engine.hurry)
        if settings.upstream_url is None:
            _logger.warning("no upstream is set: batches wait; give --upstream")
        ending.started()
        async with _health(settings, stack), asyncio.TaskGroup() as group:
            working = [group.create_task(stack.watch()), group.create_task(engine.run())]
            collect_less()
            _logger.info("working", roles=sorted(role.value for role in roles), version=program_version())
            await ending.begun()
            _logger.info("stopping", drain=settings.drain)
            await engine.stop()
            for task in working:
                task.cancel()
    _logger.info("stopped")


@asynccontextmanager
async def _health(settings: Settings, stack: "Stack") -> AsyncIterator[None]:
    """Answers health checks while the block runs, where a port is set for them."""
    if settings.health_port is None:
        yield
        return

    from api.health import create_health_app
    from cli.listening import HttpServer, listen, url_of

    listener = listen(settings.host, settings.health_port)
    with listener:
        server = HttpServer(create_health_app(stack.journal, stack.audit), listener, grace=1.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.run_until_stopped())
            await server.accepting()
            _logger.info("answering health checks", url=url_of(listener).removesuffix("/v1"))
            try:
                yield
            finally:
                server.stop()
