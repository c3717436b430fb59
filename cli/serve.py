"""`batchmill serve`: the API and the engine in one process, with a database and storage of its own."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import structlog
from cyclopts import Parameter

from cli.parameters import Config
from cli.process import Ending, run_loop
from cli.settings import Settings
from cli.settings_sources import load

_logger = structlog.get_logger()
Told = Callable[[str, str | None], Awaitable[None]]


def serve(
    *,
    host: Annotated[str | None, Parameter(help="Address to listen on.")] = None,
    port: Annotated[str | None, Parameter(help="Port to listen on; 0 takes a free one.")] = None,
    data_dir: Annotated[str | None, Parameter(help="Folder of everything embedded.")] = None,
    upstream: Annotated[str | None, Parameter(help="The upstream, with its /v1.")] = None,
    upstream_key_file: Annotated[Path | None, Parameter(help="File with the upstream's key.")] = None,
    concurrency: Annotated[str | None, Parameter(help="Lines under way at once.")] = None,
    config: Config = None,
) -> None:
    """Serve the API and run batches, all in one process group.

    Without BATCHMILL_DATABASE_URL and BATCHMILL_STORAGE_URL the database and
    the files live in the data folder. The first start makes a key and prints
    it once.

    $ batchmill serve --upstream http://127.0.0.1:8000/v1
    $ batchmill serve --port 0 --data-dir ./mill --upstream https://api.example.com/v1 --upstream-key-file key
    $ BATCHMILL_API_KEY=sk-mine batchmill serve --host 0.0.0.0
    """
    flags = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "upstream_url": upstream,
        "upstream_api_key_file": upstream_key_file,
        "concurrency": concurrency,
    }
    settings = load(flags=flags, environ=os.environ, config=config).settings
    run_loop(serve_until_stopped(settings, announce))


async def serve_until_stopped(settings: Settings, told: Told, stopping: asyncio.Event | None = None) -> None:
    """Serves until SIGTERM, SIGINT or `stopping`, then drains; a SIGINT after that ends the drain. `told`
    hears the URL and the first key as soon as requests are taken."""
    from api.app import create_app
    from api.audit.services import AuditServices
    from api.services import ApiServices
    from api.webhooks.services import WebhookServices
    from cli.api_parts import UpstreamModels, api_options
    from cli.garbage import collect_less
    from cli.keys import first_key
    from cli.listening import HttpServer, is_loopback, listen, url_of
    from cli.logs import set_up_logs
    from cli.stack import open_engine, open_stack
    from cli.webhook_parts import address_rule, open_post
    from events.migrate import program_version

    set_up_logs(settings.log_level, settings.log_format)
    async with AsyncExitStack() as closing:
        ending = closing.enter_context(Ending(stopping))
        listener = listen(settings.host, settings.port)
        closing.callback(listener.close)
        stack = await closing.enter_async_context(open_stack(settings))
        secret = await first_key(stack.journal, settings.api_key, make=is_loopback(settings.host))
        engine = await closing.enter_async_context(open_engine(settings, stack))
        post = await closing.enter_async_context(open_post(settings))
        services = ApiServices(
            journal=stack.journal,
            board=stack.board,
            store=stack.store,
            models=UpstreamModels(engine.watches),
            webhooks=WebhookServices(stack.deliveries, post, address_rule(settings), stack.webhook_key),
            audit=AuditServices.over(stack.database, stack.store, stack.data_keys),
            options=api_options(settings, stack.spill),
        )
        server = HttpServer(create_app(services), listener, settings.drain)
        ending.on_hurry(server.hurry)
        ending.on_hurry(engine.hurry)
        if settings.upstream_url is None:
            _logger.warning("no upstream is set: batches wait; give --upstream")
        ending.started()
        async with asyncio.TaskGroup() as group:
            working = [
                group.create_task(stack.watch()),
                group.create_task(engine.run()),
            ]
            serving = group.create_task(server.run_until_stopped())
            await server.accepting()
            collect_less()
            _logger.info("serving", url=url_of(listener), version=program_version())
            await told(url_of(listener), secret)
            await ending.begun()
            _logger.info("stopping", drain=settings.drain)
            services.streams.ending = True
            server.stop()
            await engine.stop()
            await serving
            for task in working:
                task.cancel()
    _logger.info("stopped")


async def announce(url: str, secret: str | None) -> None:
    print(f"Batchmill is ready at {url}", file=sys.stderr)
    if secret is not None:
        print(f"Your first API key, shown this once: {secret}", file=sys.stderr)
    sys.stderr.flush()
