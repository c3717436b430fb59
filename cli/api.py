"""`batchmill api`: the API alone, one of any number of processes on one database and one storage."""

import asyncio
import os
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


def api(
    *,
    host: Annotated[str | None, Parameter(help="Address to listen on.")] = None,
    port: Annotated[str | None, Parameter(help="Port to listen on; 0 takes a free one.")] = None,
    upstream: Annotated[str | None, Parameter(help="The upstream whose models are listed.")] = None,
    upstream_key_file: Annotated[Path | None, Parameter(help="File with the upstream's key.")] = None,
    config: Config = None,
) -> None:
    """Serve the API alone; `batchmill worker` runs the batches.

    Needs BATCHMILL_DATABASE_URL, a database that `batchmill migrate` has
    prepared, and BATCHMILL_STORAGE_URL. The broker that BATCHMILL_AMQP_URL
    names may be away, also at the start.

    $ batchmill api --host 0.0.0.0
    $ batchmill api --port 8080 --upstream http://vllm:8000/v1
    """
    flags = {"host": host, "port": port, "upstream_url": upstream, "upstream_api_key_file": upstream_key_file}
    run_loop(_serve(load(flags=flags, environ=os.environ, config=config).settings))


async def _serve(settings: Settings) -> None:
    from api.app import create_app
    from api.audit.services import AuditServices
    from api.services import ApiServices
    from api.webhooks.services import WebhookServices
    from cli.api_parts import UpstreamModels, api_options
    from cli.garbage import collect_less
    from cli.keys import first_key
    from cli.listening import HttpServer, is_loopback, listen, url_of
    from cli.logs import set_up_logs
    from cli.serve import announce
    from cli.stack import open_routes, open_shared_stack
    from cli.webhook_parts import address_rule, open_post
    from engine.route_watch import RouteWatch
    from events.migrate import program_version

    set_up_logs(settings.log_level, settings.log_format)
    async with AsyncExitStack() as closing:
        ending = closing.enter_context(Ending())
        listener = listen(settings.host, settings.port)
        closing.callback(listener.close)
        stack = await closing.enter_async_context(open_shared_stack(settings))
        secret = await first_key(stack.journal, settings.api_key, make=is_loopback(settings.host))
        routes = await closing.enter_async_context(open_routes(settings))
        post = await closing.enter_async_context(open_post(settings))
        services = ApiServices(
            journal=stack.journal,
            board=stack.board,
            store=stack.store,
            models=UpstreamModels(
                {route.name: RouteWatch(route.name, upstream) for route, upstream in routes}
            ),
            webhooks=WebhookServices(stack.deliveries, post, address_rule(settings), stack.webhook_key),
            audit=AuditServices.over(stack.database, stack.store, stack.data_keys),
            options=api_options(settings, stack.spill),
        )
        server = HttpServer(create_app(services), listener, settings.drain)
        ending.on_hurry(server.hurry)
        ending.started()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(stack.watch())
            serving = group.create_task(server.run_until_stopped())
            await server.accepting()
            collect_less()
            _logger.info("serving", url=url_of(listener), version=program_version())
            await announce(url_of(listener), secret)
            await ending.begun()
            _logger.info("stopping", drain=settings.drain)
            services.streams.ending = True
            server.stop()
            await serving
            watching.cancel()
    _logger.info("stopped")
