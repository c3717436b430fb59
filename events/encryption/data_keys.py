"""The data keys of projects: in the database, wrapped; in this process, while they are known to live."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec

from events.database import Database
from events.encryption.wrapping import BY_COMMAND, Wrapping, WrappingFailed, named, remedy
from events.errors import DatabaseUnavailable, LogBusy, SettingsError
from events.program import ProgramFailed
from events.statements import load_statements
from storage.data_key import DataKey, DataKeyDestroyed, DataKeyLost
from storage.store import StorageUnavailable

_SQL: Final = load_statements("events", "sql/data_keys.sql")
FRESH: Final = 5.0
"""Seconds after which a key is looked up again: so long it may still be used once it is destroyed."""
MOST_HELD: Final = 4096
PAGE: Final = 100


class _Row(msgspec.Struct, frozen=True):
    """A data key as the database keeps it. What is None is so of one that was destroyed."""

    id: UUID
    project_id: str
    wrapped: bytes | None
    wrapped_by: str | None


class ProjectDataKeys:
    """`DataKeys` over a `Database`. `wrapping` None: what is encrypted cannot be read. `encrypts`: whether
    what is stored from now on is encrypted."""

    def __init__(
        self,
        database: Database,
        wrapping: Wrapping | None,
        *,
        encrypts: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._wrapping = wrapping
        self._encrypts = encrypts
        self._clock = clock
        self._held: OrderedDict[str | UUID | None, tuple[DataKey, float]] = OrderedDict()
        self._turns: WeakValueDictionary[str | UUID, asyncio.Lock] = WeakValueDictionary()

    async def to_encrypt(self, project: str) -> DataKey | None:
        """See `DataKeys.to_encrypt`. A project's first call makes its key."""
        return await self._key(project) if self._encrypts else None

    async def to_decrypt(self, id: UUID) -> DataKey:
        """See `DataKeys.to_decrypt`."""
        return await self._key(id)

    async def require_wrapping(self) -> None:
        """Raises `SettingsError` where this process could not unwrap some of the living data keys, and so not
        read what they have encrypted, or is to encrypt and could not wrap any."""
        if self._encrypts:
            self._given()
        for by, keys in await self.wrapped_by():
            if self._wrapping is None or not self._wrapping.unwraps(by):
                raise SettingsError(
                    f"the bodies of {keys:,} projects are encrypted with data keys that are wrapped by "
                    f"{named(by)}, which is not given: {remedy(by)}"
                )

    async def wrapped_by(self) -> list[tuple[str, int]]:
        """What living data keys are wrapped by, and how many by each."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(_SQL["wrapped_by"])
        return [(row["wrapped_by"], row["keys"]) for row in rows]

    async def rewrap(self) -> int:
        """Wraps living data keys as new ones are wrapped; says how many. Bodies stay as they are. Keys that
        are wrapped so already are left alone, but where a command wraps: it may do so otherwise than before.

        May be broken off and repeated. Raises as `require_wrapping`, `Wrapping.wrap` and `Wrapping.unwrap`.
        """
        await self.require_wrapping()
        wrapping = self._given()
        rewrapped, after = 0, ""
        while True:
            async with self._database.reading() as connection:
                rows = [_Row(*row) for row in await connection.fetch(_SQL["page"], after, PAGE)]
            for row in rows:
                if row.wrapped is None or (row.wrapped_by == wrapping.by != BY_COMMAND):
                    continue
                wrapped = await wrapping.wrap(await self._unwrapped(row), row.project_id)
                async with self._database.writing() as connection:
                    await connection.execute(_SQL["rewrap"], row.id, row.wrapped, wrapped, wrapping.by)
                rewrapped += 1
            if not rows:
                return rewrapped
            after = rows[-1].project_id

    async def destroy(self, project: str) -> bool:
        """Destroys the key of a project; says whether it had one. Nobody reads any more what it has
        encrypted, other processes not after `FRESH` seconds. Needs no wrapping."""
        async with self._database.writing() as connection:
            destroyed: UUID | None = await connection.fetchval(_SQL["destroy"], project)
        for name in (project, destroyed):
            self._held.pop(name, None)
        return destroyed is not None

    async def _key(self, name: str | UUID) -> DataKey:
        """The key of a project, or of an id."""
        if (key := self._fresh(name)) is not None:
            return key
        async with self._turns.setdefault(name, asyncio.Lock()):
            if (key := self._fresh(name)) is not None:
                return key
            try:
                key = await (self._of_project(name) if isinstance(name, str) else self._found(name))
            except (DatabaseUnavailable, LogBusy, ProgramFailed, WrappingFailed) as error:
                raise StorageUnavailable(str(error)) from error
            for held in (name, key.id):
                self._held[held] = key, self._clock()
                self._held.move_to_end(held)
            while len(self._held) > MOST_HELD:
                self._held.popitem(last=False)
            return key

    def _fresh(self, name: str | UUID) -> DataKey | None:
        key, seen = self._held.get(name, (None, 0.0))
        return key if self._clock() - seen < FRESH else None

    async def _of_project(self, project: str) -> DataKey:
        """The key of a project; made, where it has none."""
        row = await self._row("living", project)
        if row is None:
            key = DataKey.fresh()
            wrapped = await self._given().wrap(key, project)
            async with self._database.writing() as connection:
                await connection.execute(_SQL["make"], key.id, project, wrapped, self._given().by)
            row = await self._row("living", project)
            if row is None:
                raise WrappingFailed(f"the data key of project {project} was destroyed as it was made")
            if row.id == key.id:
                return key
        return await self._unwrapped(row)

    async def _found(self, id: UUID) -> DataKey:
        row = await self._row("found", id)
        if row is None:
            raise DataKeyLost(f"the database has no data key {id}")
        if row.wrapped is None:
            self._held.pop(id, None)
            raise DataKeyDestroyed(f"data key {id} of project {row.project_id} was destroyed")
        return await self._unwrapped(row)

    async def _row(self, statement: str, name: str | UUID) -> "_Row | None":
        async with self._database.reading() as connection:
            row = await connection.fetchrow(_SQL[statement], name)
        return None if row is None else _Row(*row)

    async def _unwrapped(self, row: "_Row") -> DataKey:
        """The key of a row that lives: as it was unwrapped before, or unwrapped."""
        if (held := self._held.get(row.id)) is not None:
            return held[0]
        if row.wrapped is None or row.wrapped_by is None:
            raise DataKeyDestroyed(f"data key {row.id} of project {row.project_id} was destroyed")
        if self._wrapping is None:
            raise WrappingFailed(
                f"what project {row.project_id} has stored is encrypted, and {named(row.wrapped_by)} is not "
                f"given: {remedy(row.wrapped_by)}"
            )
        return await self._wrapping.unwrap(row.wrapped, row.wrapped_by, row.id, row.project_id)

    def _given(self) -> Wrapping:
        if self._wrapping is None:
            raise SettingsError(
                "no wrapping key is given: name its file in BATCHMILL_WRAPPING_KEY_FILE, or a program in "
                "BATCHMILL_WRAPPING_COMMAND"
            )
        return self._wrapping
