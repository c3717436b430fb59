"""Uploads in parts as they go over the wire; see `api.wire`."""

from typing import Literal

import msgspec

from api.wire import FileObject, file_object
from events.file import File
from events.read_models import Seen
from events.upload import Part, Status, Upload


class UploadObject(msgspec.Struct, frozen=True, kw_only=True):
    """`upload`; `size` is in bytes, `file` is null until it is completed."""

    id: str
    object: Literal["upload"] = "upload"
    size: int = msgspec.field(name="bytes")
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Status
    file: FileObject | None


class PartObject(msgspec.Struct, frozen=True, kw_only=True):
    """`upload.part`"""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


def upload_object(seen: Seen[Upload], file: Seen[File] | None = None) -> UploadObject:
    """An upload as its events made it, and the file that became of it."""
    upload = seen.state
    return UploadObject(
        id=seen.id,
        size=upload.created.size,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        filename=upload.created.filename,
        purpose=upload.created.purpose,
        status=upload.status,
        file=None if file is None else file_object(file),
    )


def part_object(upload_id: str, part: Part) -> PartObject:
    """A part as its event made it."""
    return PartObject(id=part.id, created_at=part.created_at, upload_id=upload_id)
