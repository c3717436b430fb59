"""What a client may ask for with an upload in parts: the checks of the two bodies, in the order of their
fields. Both functions raise `ApiError`."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from api.errors import ApiError, above_maximum, below_minimum, invalid_type, too_long
from api.expiry import BATCH_FILE_SECONDS, expiry_of_body
from api.files.purposes import BATCH, UPLOADED
from api.idempotency import FIELD as KEY_FIELD
from api.json_body import integer, json_object, one_of, refuse_unknown, required, text
from api.services import ApiOptions
from events.upload import UploadCreated

_CREATE: Final = frozenset({"filename", "purpose", "bytes", "mime_type", "expires_after", KEY_FIELD})
_COMPLETE: Final = frozenset({"part_ids", "md5"})
_NAMELESS: Final = "upload"
_MAX_NAME: Final = 4096
_MAX_TYPE: Final = 256
_MD5: Final = re.compile("[0-9a-f]{32}")


class UploadRequest(msgspec.Struct, frozen=True):
    """What creating the upload records, and the idempotency key that the body names, if it does."""

    created: UploadCreated
    idempotency_key: str | None


class Completion(msgspec.Struct, frozen=True):
    """The parts that make a file, in order, and its MD5 in lower-case hex, if the client says one."""

    part_ids: tuple[str, ...]
    md5: str | None


def parse_upload_request(body: bytes, options: ApiOptions) -> UploadRequest:
    """The upload that a body asks for."""
    fields = json_object(body)
    filename = _short(fields, "filename", _MAX_NAME) or _NAMELESS
    purpose = one_of(fields, "purpose", UPLOADED)
    size = integer(fields, "bytes")
    most = options.max_batch_file_bytes if purpose == BATCH else options.max_upload_bytes
    if size < 1:
        raise below_minimum("bytes", 1, size)
    if size > most:
        raise above_maximum("bytes", most, size)
    mime_type = _short(fields, "mime_type", _MAX_TYPE)
    expires_after = expiry_of_body(fields, "expires_after")
    if expires_after is None and purpose == BATCH:
        expires_after = BATCH_FILE_SECONDS
    key = None if fields.get(KEY_FIELD) is None else text(fields, KEY_FIELD)
    refuse_unknown(fields, _CREATE)
    created = UploadCreated(filename, purpose, mime_type, size, expires_after=expires_after)
    return UploadRequest(created, key)


def parse_completion(body: bytes) -> Completion:
    """The completion that a body asks for."""
    fields = json_object(body)
    part_ids = required(fields, "part_ids")
    if not isinstance(part_ids, list):
        raise invalid_type("part_ids", "an array of strings", part_ids)
    for n, id in enumerate(part_ids):
        if not isinstance(id, str):
            raise invalid_type(f"part_ids[{n}]", "a string", id)
    completion = Completion(tuple(part_ids), _md5(fields))
    refuse_unknown(fields, _COMPLETE)
    return completion


def _short(fields: Mapping[str, object], name: str, most: int) -> str:
    value = text(fields, name)
    if len(value) > most:
        raise too_long(name, most, len(value))
    return value


def _md5(fields: Mapping[str, object]) -> str | None:
    if fields.get("md5") is None:
        return None
    md5 = text(fields, "md5").lower()
    if not _MD5.fullmatch(md5):
        raise ApiError(400, f"Invalid 'md5': expected 32 hex digits, but got '{md5[:64]}'.", param="md5")
    return md5
