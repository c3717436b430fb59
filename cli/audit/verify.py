"""`batchmill audit verify`: whether log, attachments and files are what was recorded and sealed."""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter

from cli.exit_codes import ExitCode
from cli.pace import Pace
from cli.parameters import Config, Json
from cli.settings import Settings
from cli.settings_sources import load
from cli.settings_values import mask_url
from cli.tables import printable
from events.errors import SettingsError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from engine.audit.progress import Progress, Report
    from engine.audit.verifier import Verifier
    from events.audit.defect import Defect
    from events.audit.evidence import Evidence

KEPT_EVERY: Final = 5.0
"""Seconds between two times that progress is kept in the file of --resume."""
TOLD_EVERY: Final = 5.0
"""Seconds between two lines of progress in a pipe."""


def verify(
    *,
    all: Annotated[
        bool, Parameter(negative="", show_default=False, help="The whole log: the default.")
    ] = False,
    batch: Annotated[str | None, Parameter(help="One batch and its files.")] = None,
    since: Annotated[
        str | None, Parameter(help="What was recorded from a position or time (ISO 8601) on.")
    ] = None,
    key: Annotated[
        list[str] | None, Parameter(help="A public key, or a file of such; else those of the settings.")
    ] = None,
    witness: Annotated[
        list[str] | None,
        Parameter(help="Checkpoints kept elsewhere: a file, a folder of files, or a URL to GET."),
    ] = None,
    resume: Annotated[
        Path | None, Parameter(help="Keep progress in this file, and go on from it where it is there.")
    ] = None,
    json: Json = False,
    config: Config = None,
) -> int:
    """Verify that nothing was changed, deleted, inserted, put in another order, or cut.

    Every event's digests, its leaf beside the sealed tree, the tree beside each
    signed checkpoint, attachments, output files and what attachments give of
    them, read models. A report names each defect. Nothing is changed, and a
    running server is not held up. Exit code 6 where something is wrong.

    $ batchmill audit verify
    $ batchmill audit verify --key mill.pub --witness /mnt/other/checkpoints
    $ batchmill audit verify --since 2026-11-01 --json
    $ batchmill audit verify --batch batch_0123456789abcdef
    """
    if (batch is not None) + (since is not None) + all > 1:
        raise SettingsError("give one of --all, --batch and --since")
    if batch is not None and resume is not None:
        raise SettingsError("--resume is for --all and --since: a batch is verified at once")
    report = asyncio.run(_verified(batch, since, key or [], witness or [], resume, config))
    if resume is not None:
        resume.unlink(missing_ok=True)
    if json:
        print(msgspec.json.encode(report).decode())
    else:
        _print(report)
    return ExitCode.OK if report.clean else ExitCode.DEFECTS


async def _verified(
    batch: str | None,
    since: str | None,
    keys: Sequence[str],
    witnesses: Sequence[str],
    resume: Path | None,
    config: Path | None,
) -> "Report":
    from cli.audit.parts import last_position

    settings = load(environ=os.environ, config=config).settings
    async with _opened(settings, keys, witnesses, config) as (verifier, evidence):
        shown = _Shown(resume)
        try:
            if batch is not None:
                return await verifier.run_batch(batch, shown.show)
            progress = None if resume is None else _kept(resume)
            if progress is None:
                after = 0
                if since is not None:
                    after = await last_position("--since", since, evidence, inclusive=False)
                progress = await verifier.begin(after)
            elif progress.origin != verifier.origin:
                raise SettingsError(
                    f"{resume} is of another log, or of one before a fork: delete it to begin anew"
                )
            return await verifier.run(progress, shown.show)
        finally:
            shown.close()


@asynccontextmanager
async def _opened(
    settings: Settings, keys: Sequence[str], witnesses: Sequence[str], config: Path | None
) -> "AsyncIterator[tuple[Verifier, Evidence]]":
    from cli.audit.keys import trusted_keys
    from cli.audit.witness import kept_by
    from cli.database import open_database
    from cli.encryption_parts import open_contents
    from cli.storage import open_storage
    from engine.audit.checkpoints import Trust
    from engine.audit.verifier import Verifier
    from events.audit.evidence import Evidence
    from events.database import Database
    from events.incarnation import current_incarnation
    from events.migrate import require_schema
    from events.postgres_log import PostgresLog

    trusted = trusted_keys(keys, config)
    witnessed = [(mask_url(place), signed) for place in witnesses for signed in await kept_by(place)]
    async with open_storage(settings) as store, open_database(settings) as logins:
        await require_schema(logins.application)
        database = await Database.open(logins.application, patience=settings.append_timeout)
        try:
            incarnation = await current_incarnation(database)
            stored, data_keys = await open_contents(settings, database, store)
            evidence = Evidence(database, stored, data_keys)
            trust = Trust(trusted, witnessed)
            log = PostgresLog(database, stored, data_keys)
            yield Verifier(evidence, log, stored, incarnation, trust), evidence
        finally:
            await database.close()


def _kept(file: Path) -> "Progress | None":
    from engine.audit.progress import Progress

    try:
        return msgspec.json.decode(file.read_bytes(), type=Progress)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsError(f"{file} cannot be gone on from ({error}): delete it to begin anew") from error


class _Shown:
    """Shows progress on standard error, and keeps it in a file."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._kept_at = self._told_at = time.monotonic()
        self._bar = _bar() if sys.stderr.isatty() else None
        self._pace = Pace()

    async def show(self, progress: "Progress") -> None:
        """A page was looked at."""
        now = time.monotonic()
        if self._file is not None and now - self._kept_at >= KEPT_EVERY:
            await asyncio.to_thread(_keep, self._file, msgspec.json.encode(progress))
            self._kept_at = now
        done = progress.position if progress.phase in ("events", "read models") else progress.head
        self._pace.saw(now, progress.events)
        rate = f"{self._pace.rate:,.0f} events/s" if progress.phase == "events" and self._pace.rate else ""
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], description=progress.phase, total=progress.head, completed=done
            )
            self._bar.update(self._bar.task_ids[0], told=f"{done:,} of {progress.head:,} {rate}")
        elif now - self._told_at >= TOLD_EVERY:
            told = "; ".join(filter(None, (progress.phase, f"{done:,} of {progress.head:,}", rate)))
            print(told, file=sys.stderr, flush=True)
            self._told_at = now

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


def _bar() -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"),
        console=Console(file=sys.stderr), transient=True,
    )  # fmt: skip
    bar.add_task("", total=None, told="")
    bar.start()
    return bar


def _keep(file: Path, progress: bytes) -> None:
    """Writes progress whole or not at all."""
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        draft.write_bytes(progress)
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise SettingsError(f"{file} cannot be written: {error.strerror}") from error


def _print(report: "Report") -> None:
    print(
        f"Verified {report.events:,} events ({report.first:,} to {report.head:,}), {report.checkpoints:,} "
        f"checkpoints, {report.attachments:,} attachments, {report.files:,} files, results of "
        f"{report.results:,} batches, and {report.streams:,} read models."
    )
    if report.erased:
        print(f"{report.erased:,} attachments were erased, as events say why.")
    if report.foreign:
        print(
            f"{report.foreign:,} read models were written by another batchmill, and compared as far as both "
            "know them."
        )
    if report.anchor is None:
        print("Nothing of it is sealed: no checkpoint that one of the keys has signed was found.")
    else:
        print(f"Sealed up to position {report.sealed:,}, by a checkpoint in {printable(report.anchor)}.")
        if report.unsealed_from is not None:
            print(f"Not sealed yet: positions {report.unsealed_from:,} to {report.head:,}.")
    if report.clean:
        print("No defects.")
        return
    for defect in report.defects:
        print(f"{defect.kind}: {printable(defect.told)}{_between(defect)}")
        if defect.expected is not None or defect.found is not None:
            expected, found = defect.expected or "nothing", defect.found or "nothing"
            print(f"  expected {printable(expected)}, found {printable(found)}")
    count = "1 defect" if len(report.defects) == 1 else f"{len(report.defects):,} defects"
    print(f"{count}{', and more' if report.more else ''}.")


def _between(defect: "Defect") -> str:
    if defect.after is None and defect.before is None:
        return ""
    after = "the beginning" if defect.after is None else f"checkpoint {defect.after:,}"
    before = "no later one" if defect.before is None else f"checkpoint {defect.before:,}"
    return f" [between {after} and {before}]"
