"""`batchmill demo`: everything embedded in one process, and a batch that goes through it before one's eyes.

practice upstream ◀── lines ── engine ─ log ─ API ◀── files, batches ── official SDK, in a thread
"""

import asyncio
import sys
import tempfile
import time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from cli.exit_codes import ExitCode
from cli.process import run_loop
from cli.serve import serve_until_stopped
from cli.settings import Settings
from cli.settings_sources import load
from events.errors import SettingsError

if TYPE_CHECKING:
    from events.history import Entry

LINES: Final = 2_000
LATENCY: Final = 0.03
ERROR_RATE: Final = 0.01
THROTTLE_RATE: Final = 0.003
DRAIN: Final = "2s"
FREE_SPACE_FLOOR: Final = "64MiB"


def demo(
    *,
    data_dir: Annotated[
        Path | None, Parameter(help="Folder to keep everything in; else a temporary one.")
    ] = None,
) -> ExitCode:
    """See a batch of 2,000 mixed lines run through the whole stack.

    $ batchmill demo
    $ batchmill demo --data-dir ./demo
    $ batchmill demo | tee demo.txt

    Starts everything embedded and an upstream to practise on, and runs the
    batch through the official SDK. On a terminal it stays up for you to try
    until Ctrl-C; in a pipe it ends with its batch. It needs no setting and
    reads none.
    """
    if find_spec("openai") is None:
        raise SettingsError(
            "the demo speaks through the official SDK, which is not installed: pip install 'batchmill[demo]'"
        )
    temporary = tempfile.TemporaryDirectory(prefix="batchmill-demo-") if data_dir is None else None
    with temporary or nullcontext(str(data_dir)) as folder:
        return run_loop(_demo(Path(folder).absolute(), kept=data_dir is not None))


async def _demo(folder: Path, *, kept: bool) -> ExitCode:
    from cli.practice.upstream import Temper, start_practice_upstream

    temper = Temper(latency=LATENCY, error_rate=ERROR_RATE, throttle_rate=THROTTLE_RATE)
    upstream = await start_practice_upstream(port=0, temper=temper)
    try:
        return await _with_server(folder, upstream.url, kept=kept)
    finally:
        await upstream.close()


async def _with_server(folder: Path, upstream: str, *, kept: bool) -> ExitCode:
    from events.key import fresh_secret

    key = fresh_secret()
    settings = _settings(folder, upstream, key)
    stopping = asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def told(url: str, _: str | None) -> None:
        ready.set_result(url)

    async with asyncio.TaskGroup() as group:
        group.create_task(serve_until_stopped(settings, told, stopping))
        shown = group.create_task(_show(folder, settings, ready, key, stopping, kept=kept))
    return shown.result()


async def _show(
    folder: Path,
    settings: Settings,
    ready: "asyncio.Future[str]",
    key: str,
    stopping: asyncio.Event,
    *,
    kept: bool,
) -> ExitCode:
    from cli.demo.client import DemoFiles, run_batch
    from cli.demo.report import Report
    from cli.demo.requests import request_lines
    from cli.progress import progress

    report = Report()
    report.begin(settings.upstream_url or "", LATENCY, ERROR_RATE, THROTTLE_RATE)
    began = time.monotonic()
    url = await ready
    report.step(f"PostgreSQL, API and engine at {url}, up in {time.monotonic() - began:.1f} s")
    files = DemoFiles.within(folder)
    await asyncio.to_thread(files.requests.write_bytes, b"".join(request_lines(LINES)))
    with progress(sys.stdout, every=1.0) as show:
        batch = await asyncio.to_thread(run_batch, url, key, files, report.step, show, stopping.is_set)
    if batch is None:
        return ExitCode.INTERRUPTED
    history = await _history(settings, batch.id)
    report.results(files)
    report.figures(batch, history)
    report.time_line(history)
    report.places(folder, files, kept=kept)
    report.own_use(url, key, stays=sys.stdout.isatty())
    if not sys.stdout.isatty():
        stopping.set()
    return ExitCode.OK


def _settings(folder: Path, upstream: str, key: str) -> Settings:
    given = {
        "host": "127.0.0.1",
        "port": 0,
        "data_dir": folder,
        "upstream_url": upstream,
        "api_key": key,
        "drain": DRAIN,
        "free_space_floor": FREE_SPACE_FLOOR,
        "log_level": "error",
    }
    return load(flags=given, environ={}).settings


async def _history(settings: Settings, batch_id: str) -> "list[Entry]":
    """What became of the batch, read from the log itself."""
    from cli.database import open_database
    from events.database import Database
    from events.history import History
    from events.past import whole_stream
    from events.postgres_log import PostgresLog

    history = History()

    async with open_database(settings) as logins:
        database = await Database.open(logins.application, connections=2)
        try:
            async for event in whole_stream(PostgresLog(database), batch_id):
                history.add(event)
        finally:
            await database.close()
    return history.entries()
