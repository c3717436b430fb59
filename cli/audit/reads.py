"""`batchmill audit reads`: who has read contents."""

import asyncio
import os
import sys
from datetime import datetime
from typing import Annotated

import msgspec
from cyclopts import Parameter

from cli.keys import DEFAULT_PROJECT
from cli.parameters import Config, Json, Limit
from cli.settings_sources import load
from cli.tables import local_time, print_table
from events.errors import SettingsError
from events.event import RecordedEvent
from events.origin import Origin
from events.reads import ContentRead, Part

MOST = 10_000


class ShownRead(msgspec.Struct, frozen=True, kw_only=True):
    """A read as `audit reads --json` shows it: `position` in the log, `read_at` in Unix seconds, `start` and
    `end` as in the event."""

    position: int
    read_at: int
    actor: str | None
    of: str
    part: Part
    start: int
    end: int
    request: str | None
    client_request: str | None
    address: str | None
    trace: str | None


def reads(
    *,
    project: Annotated[str, Parameter(help="The project whose contents were read.")] = DEFAULT_PROJECT,
    since: Annotated[
        str | None, Parameter(help="Only what was read from a time on (ISO 8601), such as 2026-11-26T12:00.")
    ] = None,
    limit: Limit = MOST,
    config: Config = None,
    json: Json = False,
) -> None:
    """List who has read contents of a project: files, results, lines, errors.

    Reads are recorded where BATCHMILL_AUDIT_READS is true, before anything is
    sent: what is listed was asked for and begun, also where it did not arrive.
    The oldest come first.

    $ batchmill audit reads --project research
    $ batchmill audit reads --since 2026-11-26 --json
    """
    found = asyncio.run(_found(project, _moment(since), limit + 1, config))
    if len(found) > limit:
        next_ = datetime.fromtimestamp(found[limit].read_at).isoformat()
        print(f"There are more: --limit N, or go on with --since {next_}", file=sys.stderr)
    if json:
        print(msgspec.json.encode(found[:limit]).decode())
        return
    print_table(
        ("read", "by", "of", "what", "request", "address"),
        [
            (
                local_time(read.read_at),
                read.actor or "",
                read.of,
                f"{read.part} {read.start}-{read.end}",
                read.request or "",
                read.address or "",
            )
            for read in found[:limit]
        ],
    )


def _moment(since: str | None) -> datetime | None:
    try:
        return None if since is None else datetime.fromisoformat(since).astimezone()
    except ValueError:
        raise SettingsError(f"--since {since!r} is no time such as 2026-11-26T12:00") from None


async def _found(project: str, since: datetime | None, most: int, config: Config) -> list[ShownRead]:
    from cli.database import open_records
    from events.reads import recorded_reads

    found: list[ShownRead] = []
    async with open_records(load(environ=os.environ, config=config).settings) as (_, journal):
        async for event in recorded_reads(journal.log, project, since):
            found.append(_shown(event))
            if len(found) == most:
                break
    return found


def _shown(event: RecordedEvent) -> ShownRead:
    read, origin = msgspec.json.decode(event.data, type=ContentRead), Origin.of(event.metadata)
    return ShownRead(
        position=event.position,
        read_at=event.second,
        actor=origin.actor,
        of=read.of,
        part=read.part,
        start=read.start,
        end=read.end,
        request=origin.request,
        client_request=origin.client_request,
        address=origin.address,
        trace=origin.trace_id,
    )
