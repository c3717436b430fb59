"""`batchmill run`: one file of requests to its end, without a server, and as durable as one.

Everything is kept in `OUTPUT.batchmill/` until the results are written: a data folder with a database of its
own, which the same command finds again after a crash.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter

from cli.batch_view import BatchView
from cli.exit_codes import ExitCode
from cli.one_shot.input_file import endpoint_of
from cli.one_shot.interruption import Interruption
from cli.parameters import Config
from cli.process import run_loop
from cli.progress import Show, duration, progress
from cli.settings import Settings
from cli.settings_sources import DEFAULT, load
from cli.settings_values import show_size
from cli.tables import printable
from events.errors import NotFound, SettingsError
from events.inputs.validator import supported_endpoints

if TYPE_CHECKING:
    from cli.stack import Stack

LOOK_EVERY: Final = 0.2
STATE_SUFFIX: Final = ".batchmill"
NO_LIMIT: Final = 2**31
"""More lines than any file has that fits a disk of today."""


class Job(msgspec.Struct, frozen=True):
    """What is to be run, and where its state and results go."""

    source: Path
    output: Path
    errors: Path | None
    endpoint: str | None

    @property
    def state(self) -> Path:
        """The data folder."""
        return self.output.with_name(self.output.name + STATE_SUFFIX)


def run(
    input_file: Annotated[Path, Parameter(name=("--input-file", "-i"), help="The requests, one a line.")],
    output_file: Annotated[Path, Parameter(name=("--output-file", "-o"), help="Where the results go.")],
    /,
    *,
    upstream: Annotated[str | None, Parameter(help="The upstream, with its /v1; else a setting.")] = None,
    errors: Annotated[
        Path | None, Parameter(help="File for the lines that failed; without it they go to OUTPUT, too.")
    ] = None,
    upstream_key_file: Annotated[Path | None, Parameter(help="File with the upstream's key.")] = None,
    concurrency: Annotated[str | None, Parameter(help="Lines under way at once.")] = None,
    endpoint: Annotated[
        str | None, Parameter(help="The endpoint of every line; else the url of the first line.")
    ] = None,
    config: Config = None,
) -> ExitCode:
    """Run one file of requests to its end, without a server.

    $ batchmill run in.jsonl out.jsonl --upstream http://127.0.0.1:8000/v1
    $ batchmill run -i in.jsonl -o out.jsonl --errors failed.jsonl
    $ batchmill run in.jsonl out.jsonl --upstream-key-file key --concurrency 200

    What is done is kept in OUTPUT.batchmill/ until the results are written:
    after a crash or Ctrl-C the same command goes on where it stopped, and
    only lines that were under way are sent again. Results are in the order of
    the lines, failed ones among them unless --errors is given. There is no
    deadline, and no limit on lines or bytes unless a setting gives one.

    Exit codes: 0 every line succeeded, or those that failed are in --errors;
    1 lines failed, or the input is not valid and nothing was run; 4 another
    run has this output, or the input has changed since it began;
    130 interrupted.
    """
    flags = {
        "upstream_url": upstream,
        "upstream_api_key_file": upstream_key_file,
        "concurrency": concurrency,
    }
    job = Job(input_file, output_file, errors, endpoint)
    _check(job)
    settings = _settings(job, flags, config)
    return run_loop(_run(job, settings))


def _settings(job: Job, flags: Mapping[str, object], config: Path | None) -> Settings:
    """The settings of a run: everything embedded, and no limit of the server's that was not asked for."""
    loaded = load(flags=flags, environ=os.environ, config=config)
    settings = loaded.settings
    if settings.upstream_url is None:
        raise SettingsError("no upstream: give --upstream URL, the OpenAI-compatible server with its /v1")
    limited = loaded.origins["max_batch_file_bytes"] != DEFAULT
    if limited and (size := job.source.stat().st_size) > settings.max_batch_file_bytes:
        raise SettingsError(
            f"{job.source} has {show_size(size)}, over max_batch_file_bytes "
            f"({show_size(settings.max_batch_file_bytes)})"
        )
    return msgspec.structs.replace(
        settings,
        data_dir=job.state,
        database_url=None,
        database_owner_url=None,
        storage_url=None,
        amqp_url=None,
        max_batch_lines=(
            NO_LIMIT if loaded.origins["max_batch_lines"] == DEFAULT else settings.max_batch_lines
        ),
        log_level="error" if loaded.origins["log_level"] == DEFAULT else settings.log_level,
    )


def _check(job: Job) -> None:
    """What can be told before anything is started."""
    if not job.source.is_file():
        what = "is not a regular file" if job.source.exists() else "does not exist"
        raise NotFound(f"the input {job.source} {what}")
    if job.endpoint is not None and job.endpoint not in supported_endpoints():
        raise SettingsError(f"--endpoint {job.endpoint} is none of {', '.join(supported_endpoints())}")
    written = [path for path in (job.output, job.errors) if path is not None]
    for path in written:
        if not path.absolute().parent.is_dir():
            raise SettingsError(f"{path}: there is no folder {path.parent}")
        if path.exists() and not path.is_file():
            raise SettingsError(f"{path} is not a regular file: results appear whole, in place of a file")
    if len({path.resolve() for path in (job.source, *written)}) <= len(written):
        raise SettingsError("the input, the output and --errors must be different files")


async def _run(job: Job, settings: Settings) -> ExitCode:
    from cli.logs import set_up_logs

    set_up_logs(settings.log_level, settings.log_format)
    interruption = Interruption()
    work = asyncio.ensure_future(_carry_out(job, settings, interruption))
    with interruption.of(work):
        await asyncio.wait([work])
    if work.cancelled():
        _say("Stopped. The same command goes on from here.")
        return ExitCode.INTERRUPTED
    return work.result()


async def _carry_out(job: Job, settings: Settings, interruption: Interruption) -> ExitCode:
    from cli.one_shot.batch import write_results
    from cli.stack import open_stack

    with progress(sys.stderr) as show:
        show(BatchView(id="", status="starting"))
        async with open_stack(settings) as stack:
            batch = await _run_lines(job, settings, stack, show, interruption)
            if batch.status == "completed":
                await write_results(stack, batch.id, job.output, job.errors)
    if not batch.ended:
        _say(f"Stopped; {_done(batch)}. The same command goes on from here.")
        return ExitCode.INTERRUPTED
    _forget_state(job.state)
    if batch.status != "completed":
        _tell_invalid(batch, job.source)
        return ExitCode.FAILED
    _tell_completed(batch, job)
    return ExitCode.OK if job.errors is not None or not batch.counts.failed else ExitCode.FAILED


async def _run_lines(
    job: Job, settings: Settings, stack: "Stack", show: Show, interruption: Interruption
) -> BatchView:
    """The batch as it stands at its end, or when the run was interrupted and what was under way has ended."""
    from cli.one_shot.batch import begin_or_continue, look
    from cli.stack import open_engine

    endpoint = job.endpoint
    if endpoint is None:
        endpoint = await asyncio.to_thread(endpoint_of, job.source, settings.max_line_bytes)
    batch_id = (await begin_or_continue(stack, job.source, endpoint, job.state)).id
    before = await look(stack, batch_id)
    if before.counts.completed + before.counts.failed:
        _say(f"Going on where it stopped: {_done(before)}.")
    async with open_engine(settings, stack) as engine, asyncio.TaskGroup() as group:
        working: list[asyncio.Task[None]] = [
            group.create_task(stack.watch()),
            group.create_task(engine.run()),
        ]
        with interruption.announced() as asked:
            batch = await _follow(stack, batch_id, show, asked)
        if not batch.ended:
            _say(f"Stopping: lines under way get {duration(settings.drain)}; once more to stop at once.")
        await engine.stop()
        for task in working:
            task.cancel()
    show(batch := await look(stack, batch_id))
    return batch


async def _follow(stack: "Stack", batch_id: str, show: Show, asked: asyncio.Event) -> BatchView:
    """Shows the batch until it has ended or the run is asked to stop."""
    from cli.one_shot.batch import look

    while True:
        batch = await look(stack, batch_id)
        show(batch)
        if batch.ended or asked.is_set():
            return batch
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await asked.wait()


def _forget_state(state: Path) -> None:
    """Removes the data folder, unless the same command runs again already: then that one will."""
    from cli.embedded.data_folder import DataFolder, DataFolderInUse

    with suppress(DataFolderInUse), DataFolder.open(state):
        shutil.rmtree(state)


def _tell_invalid(batch: BatchView, source: Path) -> None:
    found = batch.errors.data if batch.errors else ()
    for error in found:
        place = f"{source}:{error.line}" if error.line is not None else str(source)
        _say(printable(f"{place}: {error.message} ({error.code})"))
    _say("The input is not valid; nothing was run.")


def _tell_completed(batch: BatchView, job: Job) -> None:
    counts = batch.counts
    tokens = f" Tokens: {batch.tokens}." if batch.tokens else ""
    _say(f"{counts.total:,} lines: {counts.completed:,} succeeded, {counts.failed:,} failed.{tokens}")
    where = f", {job.errors}" if job.errors is not None else ""
    _say(f"Results: {job.output}{where}")


def _done(batch: BatchView) -> str:
    counts = batch.counts
    if not counts.total:
        return "no line was run yet"
    return f"{counts.completed + counts.failed:,} of {counts.total:,} lines are done"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
