"""One part of an upload: the form of `POST /v1/uploads/{upload_id}/parts` read once, its data streamed into
the store on the way."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from api.discard import discard
from api.errors import ApiError, missing_parameter
from api.multipart import Form, Part
from events.failpoint import at
from storage.store import Store, Stored

_DATA: Final = "data"
_PREFIX: Final = "parts"


async def stored_part(store: Store, form: Form, most: int, project_id: str) -> Stored:
    """The `data` of a form that a project sends, in the store. Raises `ApiError`, also for more than `most`
    bytes, `StorageError` and what the body raises; then nothing is left in the store."""
    stored: Stored | None = None
    try:
        async with aclosing(form.parts()) as parts:
            async for part in parts:
                if part.name != _DATA:
                    continue
                if stored is not None:
                    raise ApiError(
                        400, f"Invalid '{_DATA}': expected it once, but got it again.", param=_DATA
                    )
                await at("put.before")
                stored = await store.put(_at_most(part, most), prefix=_PREFIX, project=project_id)
                await at("put.after")
    except BaseException as error:
        if stored is not None:
            await discard(store, stored, error)
        raise
    if stored is None:
        raise missing_parameter(_DATA)
    return stored


def part_too_large(most: int, size: int) -> ApiError:
    """A part has more bytes than a part may have; `size` is what is known of them."""
    return ApiError(
        400, f"Invalid '{_DATA}': a part has at most {most} bytes, but got {size} bytes.", param=_DATA
    )


async def _at_most(part: Part, most: int) -> AsyncIterator[bytes]:
    size = 0
    async for piece in part.content():
        size += len(piece)
        if size > most:
            raise part_too_large(most, size)
        yield piece
