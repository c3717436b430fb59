"""One file as a stream of events.

FileCreated ──FileDeleted──▶ gone
     └────────FileExpired──▶ gone
"""

import secrets
import string
from typing import Final, assert_never

import msgspec

_BASE62: Final = string.digits + string.ascii_letters
_DIGITS: Final = 22


def fresh_file_id() -> str:
    """`file-`, a hyphen, and 22 base62 digits (131 random bits)."""
    return file_id_of(secrets.randbelow(62**_DIGITS))


def file_id_of(number: int) -> str:
    """The id with the digits of a number, which is below 62 to the 22nd."""
    digits = ""
    for _ in range(_DIGITS):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return "file-" + digits


class FileCreated(msgspec.Struct, frozen=True):
    """Contents stand in storage under `storage_key`. `expires_after` is in seconds; None: never.

    `batch_id` names the batch that the file is a result of.
    """

    filename: str
    purpose: str
    size: int
    sha256: str
    storage_key: str
    expires_after: int | None = None
    batch_id: str | None = None


class FileDeleted(msgspec.Struct, frozen=True):
    """A client deleted it."""


class FileExpired(msgspec.Struct, frozen=True):
    """Its time was over."""


FileEvent = FileCreated | FileDeleted | FileExpired


class File(msgspec.Struct, frozen=True):
    """A file as its events made it; times are Unix seconds by the database's clock."""

    created: FileCreated
    created_at: int
    expires_at: int | None
    gone: bool = False


class CreateFile(msgspec.Struct, frozen=True):
    """Its contents have been stored."""

    created: FileCreated


class DeleteFile(msgspec.Struct, frozen=True):
    """A client wants it gone."""


class ExpireFile(msgspec.Struct, frozen=True):
    """The clock has passed its `expires_at`."""


FileCommand = CreateFile | DeleteFile | ExpireFile


def decide(file: File | None, command: FileCommand) -> list[FileEvent]:
    """The events that a command makes of a file; none where it changes nothing."""
    match command:
        case CreateFile(created=created):
            return [created] if file is None else []
        case DeleteFile():
            return [] if file is None or file.gone else [FileDeleted()]
        case ExpireFile():
            return [] if file is None or file.gone else [FileExpired()]
        case _:
            assert_never(command)


def evolve(file: File | None, event: FileEvent, second: int) -> File:
    """The file after an event that was recorded at `second` (Unix time)."""
    if isinstance(event, FileCreated):
        expires_at = None if event.expires_after is None else second + event.expires_after
        return File(created=event, created_at=second, expires_at=expires_at)
    if file is None:
        raise ValueError(f"a file begins with FileCreated, not with {type(event).__name__}")
    return msgspec.structs.replace(file, gone=True)
