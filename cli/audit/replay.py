"""`batchmill audit replay`: the whole log folded again, beside what is served."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from cli.exit_codes import ExitCode
from cli.parameters import Config, Json
from cli.settings_sources import load
from cli.tables import print_fields, print_table

if TYPE_CHECKING:
    from events.audit.replay import Replayed


def replay(
    *,
    until: Annotated[
        str | None, Parameter(help="Only what was recorded up to a position or a time (ISO 8601).")
    ] = None,
    sha256: Annotated[
        bool, Parameter(negative="", show_default=False, help="Read files whole and compare their SHA-256.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Replay the log from its beginning, and compare with what is served.

    Every event is folded again. Rows of the read models must be what comes of
    it, and files be there as long as they were recorded. Differences are named by
    object and field; there should be none, whatever has happened. Nothing is
    written, and a running server is not held up. With --until, objects are told
    as they were then, and those compared that have not changed since. Exit code
    6 where something differs.

    $ batchmill audit replay
    $ batchmill audit replay --sha256 --json
    $ batchmill audit replay --until 2026-11-26T12:00
    """
    replayed = asyncio.run(_replayed(until, config, hashed=sha256))
    if json:
        print(msgspec.json.encode(replayed).decode())
    else:
        _print(replayed)
    return ExitCode.DEFECTS if replayed.different else ExitCode.OK


async def _replayed(until: str | None, config: Path | None, *, hashed: bool) -> "Replayed":
    from cli.audit.parts import last_position
    from cli.database import open_records
    from cli.encryption_parts import open_contents
    from cli.steps import steps
    from cli.storage import open_storage
    from events.audit.evidence import Evidence
    from events.audit.replay import Replay

    settings = load(environ=os.environ, config=config).settings
    async with open_storage(settings) as store, open_records(settings, store) as (database, journal):
        stored, _ = await open_contents(settings, database, store)
        position = None
        if until is not None:
            position = await last_position("--until", until, Evidence(database), inclusive=True)
        head = await journal.log.head()
        with steps(sys.stderr) as tell:
            return await Replay(database, stored, hashed=hashed).run(
                until=position, tell=lambda found: tell("replaying", found.events, head)
            )


def _print(replayed: "Replayed") -> None:
    print_fields(
        [
            ("events", f"{replayed.events:,}"),
            ("up to", "" if replayed.until is None else f"position {replayed.until:,}"),
            *((f"{kind} objects", f"{count:,}") for kind, count in sorted(replayed.objects.items())),
            *((f"batches {status}", f"{count:,}") for status, count in sorted(replayed.batches.items())),
            ("files compared", f"{replayed.files_compared:,}"),
            ("bytes compared", f"{replayed.bytes_compared:,}" if replayed.bytes_compared else ""),
            ("changed since", f"{replayed.changed_since:,}" if replayed.changed_since else ""),
            ("parked", f"{replayed.parked:,}: a newer batchmill wrote to them" if replayed.parked else ""),
            ("unknown", f"{replayed.unknown:,}: of a newer batchmill" if replayed.unknown else ""),
            (
                "foreign",
                f"{replayed.foreign:,}: rows of another batchmill, compared as far as both know them"
                if replayed.foreign
                else "",
            ),
            ("differences", f"{replayed.different:,}"),
        ]
    )
    if replayed.differences:
        print_table(
            ("object", "field", "replayed", "live"),
            [(d.object, d.field, d.replayed or "", d.live or "") for d in replayed.differences],
        )
