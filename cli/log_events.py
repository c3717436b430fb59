"""`batchmill log events`: the events of the whole log, one JSON line each, also as they come."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter

from cli.parameters import Config
from cli.settings_sources import load
from events.origin import Origin

if TYPE_CHECKING:
    from events.event import RecordedEvent
    from events.log import Log

PAGE: Final = 500
"""Events read at once."""
POLL: Final = 0.5
"""Seconds between two looks for new ones."""


class LogEvent(msgspec.Struct, frozen=True):
    """An event as `log events` prints it; `data` is what the schema of its type says."""

    position: int
    time: str
    type: str
    stream: str
    version: int
    project: str
    actor: str | None
    event_id: str
    data: msgspec.Raw


def events(
    *,
    after: Annotated[int, Parameter(help="Only those behind this position.")] = 0,
    project: Annotated[str | None, Parameter(help="Only those of a project.")] = None,
    stream: Annotated[
        str | None, Parameter(help="Only those of a batch, a file, a key, or another object.")
    ] = None,
    follow: Annotated[
        bool, Parameter(negative="", show_default=False, help="Go on with what is recorded, until Ctrl-C.")
    ] = False,
    config: Config = None,
) -> None:
    """Print the events of the log, in their order, one JSON line each.

    Reads page by page, and holds up no running server. Positions ascend; to go on
    later, give the last one as --after.

    $ batchmill log events --after 120000 > events.jsonl
    $ batchmill log events --follow --project research | jq .type
    """
    asyncio.run(_print(after, project, stream, config, follow=follow))


async def _print(
    after: int, project: str | None, stream: str | None, config: Config, *, follow: bool
) -> None:
    from cli.database import open_records
    from cli.storage import open_storage

    settings = load(environ=os.environ, config=config).settings
    async with (
        open_storage(settings) as store,
        open_records(settings, store) as (_, journal),
        aclosing(_read(journal.log, after, follow=follow)) as found,
    ):
        async for event in found:
            if project in (None, event.project_id) and stream in (None, event.stream_id):
                sys.stdout.write(msgspec.json.encode(_shown(event)).decode() + "\n")


async def _read(log: "Log", after: int, *, follow: bool) -> "AsyncGenerator[RecordedEvent, None]":
    while True:
        page = await log.read(after=after, limit=PAGE)
        for event in page:
            yield event
            after = event.position
        if len(page) < PAGE:
            sys.stdout.flush()  # before a pause: whoever reads is not to wait for the next page
            if not follow:
                return
            await asyncio.sleep(POLL)


def _shown(event: "RecordedEvent") -> LogEvent:
    return LogEvent(
        position=event.position,
        time=event.recorded_at.isoformat().replace("+00:00", "Z"),
        type=event.type,
        stream=event.stream_id,
        version=event.version,
        project=event.project_id,
        actor=Origin.of(event.metadata).actor,
        event_id=str(event.event_id),
        data=msgspec.Raw(event.data.encode()),
    )
