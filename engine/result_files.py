"""Streams result lines into the two files of a batch: those that succeeded and the others, beside each other.

At most the lines of two flushes of each wait for storage.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import msgspec

from engine.line_order import NEVER_RUN, Stretch
from events.failpoint import at
from storage.store import StorageError, Store, Stored

PREFIX: Final = "results"
"""What the storage keys of result files begin with."""
HANDED_BYTES: Final = 128 << 10
"""Handed to storage at once: so many lines that a switch between tasks costs nothing beside them, so few
that nothing else waits long for its turn."""


class ResultFiles(msgspec.Struct, frozen=True):
    """What stands in storage, and how many lines of each kind there are; an empty file is not made."""

    output: Stored | None
    errors: Stored | None
    completed: int
    failed: int
    unrun: int

    @property
    def objects(self) -> list[Stored]:
        """The files there are."""
        return [stored for stored in (self.output, self.errors) if stored is not None]


async def put_result_files(
    store: Store, stretches: AsyncGenerator[Stretch, None], project_id: str
) -> ResultFiles:
    """Puts both files of a batch of this project under fresh keys. When it raises, neither stays; what a
    cancelled call leaves is swept.

    Raises what `stretches` raises, and as `Store.put`.
    """
    output, errors = _File(store, project_id), _File(store, project_id)
    completed = failed = unrun = 0
    try:
        async with asyncio.TaskGroup() as putting, aclosing(stretches):
            async for stretch in stretches:
                for succeeded, lines, text in stretch.by_file():
                    if succeeded:
                        completed += lines
                    else:
                        failed += lines
                    await (output if succeeded else errors).write(text, putting)
                unrun += stretch.statuses.count(NEVER_RUN)
            await output.end(putting)
            await errors.end(putting)
    except BaseExceptionGroup as group:
        first = group.exceptions[0]
        for file in (output, errors):
            await file.remove(first)
        raise first from None
    return ResultFiles(output.stored, errors.stored, completed, failed - unrun, unrun)


async def remove_result_files(store: Store, files: ResultFiles) -> None:
    """Deletes files that no event names. Raises as `Store.delete`; what is left is swept."""
    for stored in files.objects:
        await store.delete(stored.key)


class _File:
    """One of the two; its put begins with its first lines."""

    def __init__(self, store: Store, project_id: str) -> None:
        self.stored: Stored | None = None
        self._store = store
        self._project_id = project_id
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._handed: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        self._begun = False

    async def write(self, text: bytes, putting: asyncio.TaskGroup) -> None:
        self._held.append(text)
        self._held_bytes += len(text)
        if self._held_bytes >= HANDED_BYTES:
            await self._hand_over(putting)

    async def end(self, putting: asyncio.TaskGroup) -> None:
        if self._held:
            await self._hand_over(putting)
        if self._begun:
            await self._handed.put(b"")

    async def remove(self, reason: BaseException) -> None:
        """Deletes it where it stands already; `reason` is told where that fails."""
        if self.stored is None:
            return
        try:
            await self._store.delete(self.stored.key)
        except StorageError as error:
            reason.add_note(f"what was written is left to the sweep: {error}")

    async def _hand_over(self, putting: asyncio.TaskGroup) -> None:
        if not self._begun:
            self._begun = True
            putting.create_task(self._put())
        text = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        await self._handed.put(text)

    async def _put(self) -> None:
        await at("put.before")
        self.stored = await self._store.put(self._body(), prefix=PREFIX, project=self._project_id)
        await at("put.after")

    async def _body(self) -> AsyncIterator[bytes]:
        """Until the empty piece that says it is complete."""
        while piece := await self._handed.get():
            yield piece
