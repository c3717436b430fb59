"""One upload as a stream of events: a file that comes in parts.

    UploadCreated ──▶ pending ──UploadPartAdded──▶ pending
                         ├──────UploadCompleted──▶ completed, with a FileCreated in the same append
                         ├──────UploadCancelled──▶ cancelled
                         └──────UploadExpired────▶ expired

Parts come in any order, also side by side and more than once; the client says at the end which of them make
the file. Each is an object of its own in storage, until the upload has ended.
"""

import secrets
from collections.abc import Sequence
from typing import Final, Literal, assert_never

import msgspec

from events.errors import UploadRefused

LIFETIME: Final = 3600
"""Seconds after which a pending upload expires."""
MOST_PARTS: Final = 10_000
SENT_AGAIN: Final = 256 << 20
"""Bytes by which all parts together may exceed twice the file: a client that never saw an answer sends a part
again, and knows only the second."""

Status = Literal["pending", "completed", "cancelled", "expired"]


def fresh_upload_id() -> str:
    """`upload_` and 32 hex digits."""
    return "upload_" + secrets.token_hex(16)


def fresh_part_id() -> str:
    """`part_` and 32 hex digits."""
    return "part_" + secrets.token_hex(16)


class UploadCreated(msgspec.Struct, frozen=True):
    """A client wants to send a file of `size` bytes in parts, within `lifetime` seconds. The file is kept
    for `expires_after` seconds; None: for ever."""

    filename: str
    purpose: str
    mime_type: str
    size: int
    lifetime: int = LIFETIME
    expires_after: int | None = None


class UploadPartAdded(msgspec.Struct, frozen=True):
    """A part stands in storage under `storage_key`."""

    part_id: str
    size: int
    sha256: str
    storage_key: str


class UploadCompleted(msgspec.Struct, frozen=True):
    """These parts, in this order, became the contents of the file `file_id`; `md5` is that of the file, in
    lower-case hex, where the client said it."""

    file_id: str
    part_ids: tuple[str, ...]
    md5: str | None = None


class UploadCancelled(msgspec.Struct, frozen=True):
    """The client does not want the file any more."""


class UploadExpired(msgspec.Struct, frozen=True):
    """Its time was over before the client completed it."""


UploadEvent = UploadCreated | UploadPartAdded | UploadCompleted | UploadCancelled | UploadExpired


class Part(msgspec.Struct, frozen=True):
    """A part of an upload; `created_at` is Unix seconds."""

    id: str
    size: int
    sha256: str
    storage_key: str
    created_at: int


class Upload(msgspec.Struct, frozen=True):
    """An upload as its events made it; times are Unix seconds by the database's clock. `parts` stand in the
    order in which they were recorded; `completed` is None until it is."""

    created: UploadCreated
    created_at: int
    expires_at: int
    status: Status = "pending"
    parts: tuple[Part, ...] = ()
    completed: UploadCompleted | None = None

    def part(self, id: str) -> Part | None:
        """The part of that id; the newest are found fastest."""
        return next((part for part in reversed(self.parts) if part.id == id), None)


class CreateUpload(msgspec.Struct, frozen=True):
    """Begin an upload."""

    created: UploadCreated


class AddPart(msgspec.Struct, frozen=True):
    """A part has been stored."""

    added: UploadPartAdded


class CompleteUpload(msgspec.Struct, frozen=True):
    """The contents of these parts have been stored as one file; `md5` is None where the client said none."""

    file_id: str
    part_ids: tuple[str, ...]
    md5: str | None = None


class CancelUpload(msgspec.Struct, frozen=True):
    """The client wants it gone."""


class ExpireUpload(msgspec.Struct, frozen=True):
    """The clock has passed its `expires_at`."""


UploadCommand = CreateUpload | AddPart | CompleteUpload | CancelUpload | ExpireUpload


def decide(upload: Upload | None, command: UploadCommand) -> list[UploadEvent]:
    """The events that a command makes of an upload; none where it changes nothing, also where an upload is
    completed again with the same parts. Raises `UploadRefused`."""
    if isinstance(command, CreateUpload):
        return [command.created] if upload is None else []
    if upload is None:
        raise ValueError(f"an upload begins with CreateUpload, not with {type(command).__name__}")
    match command:
        case AddPart(added=added):
            return _added(upload, added)
        case CompleteUpload(file_id=file_id, part_ids=part_ids, md5=md5):
            if upload.completed is not None and upload.completed.part_ids == part_ids:
                _require_known(md5, upload.completed)
                return []
            chosen_parts(upload, part_ids)
            return [UploadCompleted(file_id, part_ids, md5)]
        case CancelUpload():
            require_pending(upload, "cancel an upload")
            return [UploadCancelled()]
        case ExpireUpload():
            return [UploadExpired()] if upload.status == "pending" else []
        case _:
            assert_never(command)


def evolve(upload: Upload | None, event: UploadEvent, second: int) -> Upload:
    """The upload after an event that was recorded at `second` (Unix time)."""
    if isinstance(event, UploadCreated):
        return Upload(created=event, created_at=second, expires_at=second + event.lifetime)
    if upload is None:
        raise ValueError(f"an upload begins with UploadCreated, not with {type(event).__name__}")
    replace = msgspec.structs.replace
    match event:
        case UploadPartAdded():
            part = Part(event.part_id, event.size, event.sha256, event.storage_key, second)
            return replace(upload, parts=(*upload.parts, part))
        case UploadCompleted():
            return replace(upload, status="completed", completed=event)
        case UploadCancelled():
            return replace(upload, status="cancelled")
        case UploadExpired():
            return replace(upload, status="expired")
        case _:
            assert_never(event)


def require_pending(upload: Upload, doing: str) -> None:
    """Raises `UploadRefused` for an upload that has ended; `doing` is what cannot be done to it."""
    if upload.status != "pending":
        raise UploadRefused(f"Cannot {doing} with status '{upload.status}'.")


def chosen_parts(upload: Upload, part_ids: Sequence[str]) -> list[Part]:
    """The parts of a pending upload that make its file, in order.

    Raises `UploadRefused` where one is unknown or named twice, or where they are not as long as the file.
    """
    require_pending(upload, "complete an upload")
    parts = {part.id: part for part in upload.parts}
    chosen: dict[str, Part] = {}
    for id in part_ids:
        if id in chosen:
            raise UploadRefused(f"Invalid 'part_ids': the part '{id[:64]}' is named twice.", "part_ids")
        if id not in parts:
            raise UploadRefused(f"Invalid 'part_ids': the upload has no part '{id[:64]}'.", "part_ids")
        chosen[id] = parts[id]
    size = sum(part.size for part in chosen.values())
    if size != upload.created.size:
        raise UploadRefused(
            f"Invalid 'part_ids': these parts have {size} bytes together, but the upload was created with "
            f"'bytes' {upload.created.size}.",
            "part_ids",
        )
    return list(chosen.values())


def _require_known(md5: str | None, completed: UploadCompleted) -> None:
    """Raises `UploadRefused` for an MD5 that a completed upload is not known to have."""
    if md5 is None or md5 == completed.md5:
        return
    known = f"with {completed.md5}" if completed.md5 else "without one, so that it cannot be compared now"
    raise UploadRefused(f"Invalid 'md5': the upload was completed {known}, but got {md5}.", "md5")


def _added(upload: Upload, added: UploadPartAdded) -> list[UploadEvent]:
    require_pending(upload, "add a part to an upload")
    if len(upload.parts) >= MOST_PARTS:
        raise UploadRefused(f"Invalid 'data': an upload has at most {MOST_PARTS} parts.", "data")
    size = sum(part.size for part in upload.parts) + added.size
    most = 2 * upload.created.size + SENT_AGAIN
    if size > most:
        raise UploadRefused(
            f"Invalid 'data': with this part the upload would hold {size} bytes. Parts may be sent again, "
            f"but all together hold at most {most} bytes for a file of {upload.created.size}.",
            "data",
        )
    return [added]
