"""How much a project may store: no upload is taken that would exceed it, however many come at once.

Within a process that is exact: each upload counts those that were here before it. What is under way in other
processes is not known here, so all together may exceed the limit by what those take at this moment.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from api.discard import discard
from api.errors import NO_RETRY, ApiError
from api.services import ApiServices
from storage.store import Stored

QUOTA: Final = "insufficient_quota"
"""Type and code of the refusal."""


class Place:
    """What one upload takes of its project's storage until its file is recorded."""

    def __init__(self, services: ApiServices, project_id: str) -> None:
        self._services = services
        self._project_id = project_id
        self._most = services.options.limits.of(project_id).stored_bytes
        self._held = 0

    async def hold(self, size: int) -> None:
        """Makes the place at least `size` bytes large. Raises the 429 of a quota."""
        if not self._most or size <= self._held:
            return
        coming = self._services.coming
        before = coming[self._project_id] - self._held
        coming[self._project_id] = before + size
        self._held = size
        # What is recorded just now may count twice, but whatever was here before counts.
        used = before + await self._services.journal.models.kept(self._project_id)
        if used + size > self._most:
            raise _exceeded(self._project_id, self._most, used, size)

    async def keep(self, stored: Stored) -> None:
        """Holds what has been stored; where that is too much, it is removed again. Raises as `hold`."""
        try:
            await self.hold(stored.size)
        except ApiError as error:
            await discard(self._services.store, stored, error)
            raise

    def leave(self) -> None:
        """The file is recorded, or does not come."""
        coming = self._services.coming
        coming[self._project_id] -= self._held
        self._held = 0
        if not coming[self._project_id]:
            del coming[self._project_id]


@asynccontextmanager
async def place_for(services: ApiServices, project_id: str, size: int) -> AsyncIterator[Place]:
    """A place for an upload of at least `size` bytes, for as long as the block runs. Raises `ApiError`."""
    place = Place(services, project_id)
    try:
        await place.hold(size)
        yield place
    finally:
        place.leave()


def quota_exceeded(because: str) -> ApiError:
    """The 429 of a quota: asking again at once is of no use."""
    message = f"You exceeded your current quota: {because}"
    return ApiError(429, message, type=QUOTA, code=QUOTA, headers=NO_RETRY)


def _exceeded(project_id: str, most: int, used: int, size: int) -> ApiError:
    return quota_exceeded(
        f"project {project_id} may store {most:,} bytes (stored_bytes), its files and uploads hold {used:,}, "
        f"and this upload has {size:,} or more. Delete files, or ask the server's operator for a higher "
        "limit."
    )
