"""`batchmill files`: send files to a running server, see them, fetch them and delete them."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cli.parameters import FileId, Json, Limit, Output, Url
from cli.remote.client import connect, decode, json_text
from cli.remote.uploads import FileView, upload
from cli.settings_values import show_size
from cli.tables import local_time, print_fields, print_table
from cli.whole_file import output_of

app = App(
    name="files",
    help="""See and move the files of a running server.

$ batchmill files upload requests.jsonl
$ batchmill files download file-0123456789abcdef -o results.jsonl
""",
)


@app.command(name="list")
def list_files(
    *, purpose: str | None = None, limit: Limit = 100, url: Url = None, json: Json = False
) -> None:
    """List files, newest first.

    $ batchmill files list --purpose batch_output

    Parameters
    ----------
    purpose
        Only files of this purpose.
    """
    query = {"purpose": purpose} if purpose else {}
    found = list(connect(url).objects("files", limit=limit, **query))
    if json:
        print(json_text(b"[" + b",".join(map(bytes, found)) + b"]"))
        return
    files = [decode(file, FileView) for file in found]
    print_table(
        ("id", "purpose", "size", "created", "name"),
        [(f.id, f.purpose, show_size(f.size), local_time(f.created_at), f.filename) for f in files],
    )


@app.command
def show(file_id: FileId, /, *, url: Url = None, json: Json = False) -> None:
    """Show one file.

    $ batchmill files show file-0123456789abcdef
    """
    _print_file(connect(url).get("files", file_id), json=json)


@app.command(name="upload")
def upload_file(
    path: Annotated[Path, Parameter(name="FILE")],
    /,
    *,
    purpose: str = "batch",
    url: Url = None,
    json: Json = False,
) -> None:
    """Upload a file; the server checks the lines when a batch is created from it.

    $ batchmill files upload requests.jsonl

    Parameters
    ----------
    path
        The file to send.
    purpose
        What it is for.
    """
    _print_file(upload(connect(url), path, purpose=purpose), json=json)


@app.command
def download(
    file_id: FileId,
    /,
    *,
    output: Output = None,
    url: Url = None,
) -> None:
    """Fetch the content of a file; whole or not at all.

    $ batchmill files download file-0123456789abcdef -o results.jsonl
    $ batchmill files download file-0123456789abcdef | jq .response.body
    """
    with output_of(output) as target:
        connect(url).download(target, "files", file_id, "content")


@app.command
def delete(file_id: FileId, /, *, url: Url = None, json: Json = False) -> None:
    """Delete a file; the answers it holds are erased for good, their digests stay in the log.

    $ batchmill files delete file-0123456789abcdef
    """
    answer = connect(url).delete("files", file_id)
    print(json_text(answer) if json else f"deleted {file_id}")


def _print_file(content: bytes, *, json: bool) -> None:
    if json:
        print(json_text(content))
        return
    file = decode(content, FileView)
    print_fields(
        [
            ("id", file.id),
            ("name", file.filename),
            ("purpose", file.purpose),
            ("size", show_size(file.size)),
            ("created", local_time(file.created_at)),
            ("expires", local_time(file.expires_at)),
        ]
    )
