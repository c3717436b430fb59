"""Ids: how ours are made, which texts can be an id at all, and what is said of one that nothing has."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from api.errors import ApiError
from api.idempotency import derived_hex
from events.errors import NotFound
from events.file import file_id_of

_LONGEST: Final = 256


def fresh_batch_id() -> str:
    """`batch_` and 32 hex digits."""
    return "batch_" + secrets.token_hex(16)


def keyed_batch_id(project_id: str, key: str) -> str:
    """The id of the batch that a project makes with an idempotency key."""
    return "batch_" + derived_hex("batch", project_id, key)


def keyed_file_id(project_id: str, key: str) -> str:
    """The id of the file that a project uploads with an idempotency key."""
    return file_id_of(int(derived_hex("file", project_id, key), 16))


def keyed_upload_id(project_id: str, key: str) -> str:
    """The id of the upload that a project begins with an idempotency key."""
    return "upload_" + derived_hex("upload", project_id, key)


def plausible(text: str) -> bool:
    """Whether an id could be this text. What is not never reaches the database, which cannot hold every
    character."""
    return 0 < len(text) <= _LONGEST and text.isascii() and text.isprintable()


@contextmanager
def looking_for(id: str | None, unknown: ApiError) -> Iterator[None]:
    """Raises `unknown` for a text that cannot be an id, and where the block raises `NotFound`."""
    if id is not None and not plausible(id):
        raise unknown
    try:
        yield
    except NotFound as error:
        raise unknown from error
