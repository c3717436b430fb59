"""`batchmill batches`: make, see, follow, cancel and retry batches on a running server."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cli.batch_view import BatchView
from cli.exit_codes import ExitCode
from cli.parameters import BatchId, Interval, Json, Limit, Url
from cli.remote.client import Server, connect, decode, json_text
from cli.remote.history import history, moment
from cli.remote.inside import errors, events, line, results
from cli.remote.uploads import FileView, upload
from cli.remote.watching import display, exit_code_for, watch_to_the_end
from cli.tables import local_time, print_fields, print_table
from events.errors import NotFound

app = App(
    name="batches",
    help="""See and steer the batches of a running server.

$ batchmill batches create requests.jsonl --watch
$ batchmill batches results batch_0123456789abcdef -o results.jsonl
""",
)


@app.command(name="list")
def list_batches(*, limit: Limit = 20, url: Url = None, json: Json = False) -> None:
    """List batches, newest first.

    $ batchmill batches list --limit 5
    $ batchmill batches list --json | jq '.[].id'
    """
    found = list(connect(url).objects("batches", limit=limit))
    if json:
        print(json_text(b"[" + b",".join(map(bytes, found)) + b"]"))
        return
    batches = [decode(batch, BatchView) for batch in found]
    print_table(
        ("id", "status", "lines", "model", "created", "waiting"),
        [
            (b.id, b.status, b.progress, b.model or "", local_time(b.created_at), b.waiting_for)
            for b in batches
        ],
    )


@app.command
def show(
    batch_id: BatchId,
    /,
    *,
    at: Annotated[
        str | None, Parameter(help="As it was at a time, or after the event of this id (see `events`).")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show one batch: its counts, files, errors, and why it waits.

    $ batchmill batches show batch_0123456789abcdef
    $ batchmill batches show batch_0123456789abcdef --at 2026-11-26T12:00
    $ batchmill batches show batch_0123456789abcdef --at 3
    """
    query = {} if at is None else {"at": moment(at)}
    _print_batch(connect(url).get("batches", batch_id, **query), json=json)


@app.command
def watch(batch_id: BatchId, /, *, interval: Interval = 1.0, url: Url = None, json: Json = False) -> ExitCode:
    """Follow a batch to its end; exits 0 only if it completed.

    $ batchmill batches watch batch_0123456789abcdef
    """
    return _watch(connect(url), batch_id, interval, json=json)


@app.command
def cancel(batch_id: BatchId, /, *, url: Url = None, json: Json = False) -> None:
    """Cancel a batch; what is done is kept, and its files come when lines in flight have ended.

    $ batchmill batches cancel batch_0123456789abcdef
    """
    _print_batch(connect(url).post("batches", batch_id, "cancel"), json=json)


@app.command
def create(
    source: Annotated[str, Parameter(name="INPUT")],
    /,
    *,
    endpoint: str = "/v1/chat/completions",
    window: str = "24h",
    metadata: dict[str, str] | None = None,
    watch: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    interval: Interval = 1.0,
    url: Url = None,
    json: Json = False,
) -> ExitCode:
    """Create a batch from a JSONL file of requests, or from a file the server already has.

    $ batchmill batches create requests.jsonl --watch
    $ batchmill batches create file-0123456789abcdef --endpoint /v1/embeddings --metadata.team search

    Parameters
    ----------
    source
        A JSONL file, which is uploaded first, or the id of a file on the server.
    endpoint
        The API that every line calls.
    window
        Time after which unfinished lines expire.
    metadata
        Up to 16 pairs kept with the batch, each as --metadata.KEY VALUE.
    watch
        Follow the batch to its end.
    """
    server = connect(url)
    order: dict[str, object] = {
        "input_file_id": _input_file(server, source),
        "endpoint": endpoint,
        "completion_window": window,
    }
    content = server.post("batches", body=order | ({"metadata": metadata} if metadata else {}))
    return _created(server, content, watch, interval, json=json)


@app.command
def retry(
    batch_id: BatchId,
    /,
    *,
    group: str | None = None,
    window: str | None = None,
    metadata: dict[str, str] | None = None,
    idempotency_key: str | None = None,
    watch: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    interval: Interval = 1.0,
    url: Url = None,
    json: Json = False,
) -> ExitCode:
    """Create a batch of those lines of an ended one that failed or were never run.

    $ batchmill batches retry batch_0123456789abcdef --watch
    $ batchmill batches retry batch_0123456789abcdef --group cause_0123456789abcdef

    Parameters
    ----------
    group
        Only lines that failed alike: the id of an entry of `batchmill batches errors`.
    window
        Time after which unfinished lines expire; that of the old batch if not given.
    metadata
        Instead of that of the old batch, each pair as --metadata.KEY VALUE.
    idempotency_key
        A word of yours: sent again, it makes no second batch.
    watch
        Follow the new batch to its end.
    """
    server = connect(url)
    order = {
        "group": group,
        "completion_window": window,
        "metadata": metadata,
        "idempotency_key": idempotency_key,
    }
    body = {name: value for name, value in order.items() if value is not None}
    return _created(server, server.post("batches", batch_id, "retry", body=body), watch, interval, json=json)


for _look in (events, history, errors, line, results):
    app.command(_look)


def _created(server: Server, content: bytes, watch: bool, interval: float, *, json: bool) -> ExitCode:
    if watch:
        return _watch(server, decode(content, BatchView).id, interval, json=json)
    _print_batch(content, json=json)
    return ExitCode.OK


def _input_file(server: Server, source: str) -> str:
    path = Path(source)
    if path.is_file():
        return decode(upload(server, path, purpose="batch"), FileView).id
    if source.startswith("file-"):
        return source
    raise NotFound(f"there is no file {source}: give a JSONL file or the id of a file on the server")


def _watch(server: Server, batch_id: str, interval: float, *, json: bool) -> ExitCode:
    with display(json=json) as to:
        batch = watch_to_the_end(server, batch_id, to, interval=interval)
    if not json:
        print_fields(batch.fields())
    return exit_code_for(batch)


def _print_batch(content: bytes, *, json: bool) -> None:
    if json:
        print(json_text(content))
    else:
        print_fields(decode(content, BatchView).fields())
