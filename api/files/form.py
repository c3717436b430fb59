"""The form of `POST /v1/files`, read once, its file streamed into the store on the way.

The purpose may come after the file, so what is refused then has been stored already and is removed again.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Final

import msgspec

from api.batches.first_line import FirstLine
from api.discard import discard
from api.errors import ApiError, invalid_value, missing_parameter, too_large
from api.expiry import BATCH_FILE_SECONDS, expiry_of_form
from api.files.purposes import BATCH, UPLOADED
from api.multipart import Form, Part
from api.services import ApiOptions
from events.failpoint import at
from storage.store import Store, Stored

_NAMELESS: Final = "upload"
_PREFIX: Final = "files"


class SentFile(msgspec.Struct, frozen=True):
    """A file in the store that no event names yet. `expires_after` is in seconds; None: never."""

    filename: str
    purpose: str
    stored: Stored
    expires_after: int | None


class FileForm:
    """The reading of one form that a project sends."""

    def __init__(self, store: Store, options: ApiOptions, project_id: str) -> None:
        self._store = store
        self._project_id = project_id
        self._options = options
        self._fields: dict[str, str] = {}
        self._first_line = FirstLine()
        self._filename = _NAMELESS
        self._stored: Stored | None = None

    async def read(self, form: Form) -> SentFile:
        """The file of a form, stored. Raises `ApiError`, `StorageError` and what the body raises; then
        nothing is left in the store."""
        try:
            async with aclosing(form.parts()) as parts:
                async for part in parts:
                    await self._take(part)
            return self._finished()
        except BaseException as error:
            if self._stored is not None:
                await discard(self._store, self._stored, error)
            raise

    async def _take(self, part: Part) -> None:
        if part.name in self._fields or (part.name == "file" and self._stored is not None):
            name = part.name[:64]
            raise ApiError(400, f"Invalid '{name}': expected it once, but got it again.", param=name)
        if part.name != "file":
            self._fields[part.name] = await part.text()
            return
        if "purpose" in self._fields:
            _purpose(self._fields)
        self._filename = part.filename or _NAMELESS
        await at("put.before")
        self._stored = await self._store.put(self._watched(part), prefix=_PREFIX, project=self._project_id)
        await at("put.after")

    async def _watched(self, part: Part) -> AsyncIterator[bytes]:
        """The content of the file, refused as soon as it is too large for what is known of its purpose."""
        purpose = self._fields.get("purpose")
        size = 0
        async for piece in part.content():
            size += len(piece)
            self._check_size(purpose, size)
            self._first_line.see(piece)
            yield piece

    def _check_size(self, purpose: str | None, size: int) -> None:
        if purpose == BATCH and size > self._options.max_batch_file_bytes:
            raise ApiError(400, "File is too large.")
        if purpose not in (None, BATCH) and size > self._options.max_file_bytes:
            raise too_large(self._options.max_file_bytes, size)

    def _finished(self) -> SentFile:
        if self._stored is None:
            raise missing_parameter("file")
        purpose = _purpose(self._fields)
        self._check_size(purpose, self._stored.size)
        if purpose == BATCH and not self._first_line.is_jsonl():
            raise ApiError(400, "Invalid file format for Batch API. Must be .jsonl")
        expires_after = expiry_of_form(self._fields, "expires_after")
        if expires_after is None and purpose == BATCH:
            expires_after = BATCH_FILE_SECONDS
        return SentFile(self._filename, purpose, self._stored, expires_after)


def _purpose(fields: Mapping[str, str]) -> str:
    if "purpose" not in fields:
        raise missing_parameter("purpose")
    if fields["purpose"] not in UPLOADED:
        raise invalid_value("purpose", fields["purpose"], UPLOADED)
    return fields["purpose"]
