"""`batchmill batches events|errors|line|results`: what is inside a batch of a running server."""

import sys
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from cli.exit_codes import ExitCode
from cli.parameters import BatchId, Interval, Json, Limit, Output, Url
from cli.remote.client import connect, decode, json_text
from cli.remote.results import WholeLines, fetch_results, follow_results, results_file
from cli.remote.watching import exit_code_for, watch_to_the_end
from cli.tables import local_time, print_fields, print_table

_DATA: Final = 60
"""Characters of an event's data that a table shows."""


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a batch; `id` counts from 1."""

    id: str
    type: str = ""
    created_at: int | None = None
    actor: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def brief(self) -> str:
        """The data, cut where a line ends."""
        text = bytes(self.data).decode("utf-8", "replace")
        return "" if text == "{}" else text if len(text) <= _DATA else text[: _DATA - 1] + "…"


class CauseView(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that failed alike."""

    id: str
    status_code: int | None = None
    code: str | None = None
    message: str | None = None
    count: int = 0
    custom_ids: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()


class PlaceView(msgspec.Struct, frozen=True):
    """Where a line stands."""

    file_id: str = ""
    line: int = 0


class OutcomeView(msgspec.Struct, frozen=True):
    """How a line went."""

    status_code: int | None = None
    code: str | None = None
    attempts: int = 0
    seconds: float = 0.0
    worker: str = ""
    recorded_at: int | None = None
    event: str = ""


class LineView(msgspec.Struct, frozen=True):
    """One line of a batch."""

    custom_id: str
    status: str
    input: PlaceView = PlaceView()
    outcome: OutcomeView | None = None


def events(
    batch_id: BatchId,
    /,
    *,
    after: Annotated[str | None, Parameter(help="Only what came after the event of this id.")] = None,
    limit: Limit = 1000,
    url: Url = None,
    json: Json = False,
) -> None:
    """List what happened to a batch, in order, and who caused it.

    $ batchmill batches events batch_0123456789abcdef
    $ batchmill batches events batch_0123456789abcdef --after 3 --json | jq '.[].type'
    """
    found = list(connect(url).objects("batches", batch_id, "events", limit=limit, after=after))
    if json:
        _print_list(found)
        return
    shown = [decode(event, EventView) for event in found]
    print_table(
        ("id", "time", "type", "actor", "data"),
        [(e.id, local_time(e.created_at), e.type, e.actor or "", e.brief) for e in shown],
    )


def errors(batch_id: BatchId, /, *, url: Url = None, json: Json = False) -> None:
    """List why lines of a batch failed, those that failed alike together.

    `batchmill batches retry BATCH --group ID` runs the lines of a group again.

    $ batchmill batches errors batch_0123456789abcdef
    $ batchmill batches errors batch_0123456789abcdef --json | jq '.[0].message'
    """
    found = list(connect(url).objects("batches", batch_id, "errors", limit=1000))
    if json:
        _print_list(found)
        return
    causes = [decode(cause, CauseView) for cause in found]
    print_table(
        ("id", "lines", "status", "code", "message", "such as"),
        [
            (
                c.id,
                f"{c.count:,}",
                "" if c.status_code is None else str(c.status_code),
                c.code or "",
                c.message or "",
                ", ".join([*c.custom_ids, *(f"line {line}" for line in c.lines)]),
            )
            for c in causes
        ],
    )


def line(
    batch_id: BatchId,
    custom_id: Annotated[str, Parameter(help="The custom_id of the line, as it stands in the input.")],
    /,
    *,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show one line of a batch: where it stands in the input, and how it went.

    $ batchmill batches line batch_0123456789abcdef request-17
    """
    content = connect(url).get("batches", batch_id, "lines", custom_id)
    if json:
        print(json_text(content))
        return
    found = decode(content, LineView)
    went = found.outcome or OutcomeView()
    print_fields(
        [
            ("custom_id", found.custom_id),
            ("status", found.status),
            ("input", f"line {found.input.line:,} of {found.input.file_id}"),
            ("answer", "" if went.status_code is None else str(went.status_code)),
            ("code", went.code or ""),
            ("attempts", f"{went.attempts:,}" if went.attempts else ""),
            ("took", f"{went.seconds:.3f} s" if found.outcome else ""),
            ("worker", went.worker),
            ("recorded", local_time(went.recorded_at)),
            ("event", went.event),
        ]
    )


def results(
    batch_id: BatchId,
    /,
    *,
    output: Output = None,
    offset: Annotated[
        int, Parameter(validator=Number(gte=0), help="How many results you have; those after them come.")
    ] = 0,
    follow: Annotated[
        bool, Parameter(negative="", show_default=False, help="Go on as results come, to the batch's end.")
    ] = False,
    interval: Interval = 1.0,
    url: Url = None,
) -> ExitCode:
    """Fetch the results of a batch, while it runs and after: JSON lines, in the order they were recorded.

    Without --follow, what is there now; a file is written whole or not at all.
    With it, results are written as they come, also through a restart of the
    server; exits 0 only if the batch completed. With --offset a file is added to.

    $ batchmill batches results batch_0123456789abcdef -o results.jsonl
    $ batchmill batches results batch_0123456789abcdef --follow | jq .custom_id
    """
    server = connect(url)
    with results_file(output, offset=offset, follow=follow) as target:
        if not follow:
            fetched = fetch_results(server, batch_id, WholeLines(target), offset=offset)
        else:
            follow_results(server, batch_id, target, offset=offset, interval=interval)
    if follow:
        return exit_code_for(watch_to_the_end(server, batch_id, lambda *_: None, interval=interval))
    if fetched.more:
        print(
            f"batchmill: {fetched.lines:,} results so far, more can come: `--offset {fetched.lines}` goes on "
            "from here, `--follow` waits for them",
            file=sys.stderr,
        )
    return ExitCode.OK


def _print_list(found: list[msgspec.Raw]) -> None:
    print(json_text(b"[" + b",".join(map(bytes, found)) + b"]"))
