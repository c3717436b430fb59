"""A file as the server tells of it, and how a local one gets there."""

from pathlib import Path

import msgspec

from cli.remote.client import Server
from events.errors import NotFound


class FileView(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the server. Times are Unix seconds, `size` is bytes."""

    id: str
    filename: str = ""
    purpose: str = ""
    size: int = msgspec.field(name="bytes", default=0)
    created_at: int | None = None
    expires_at: int | None = None


def upload(server: Server, path: Path, *, purpose: str) -> bytes:
    """Send a local file; the JSON text of its File. Raises NotFound if it cannot be read."""
    try:
        source = path.open("rb")
    except OSError as error:
        raise NotFound(f"the file {path} cannot be read: {error.strerror}") from error
    with source:
        if not path.is_file():
            raise NotFound(
                f"{path} is no regular file, and an upload announces its size: write it to one first"
            )
        return server.upload(source, name=path.name, purpose=purpose)
