"""The data keys of projects: made once, kept wrapped, destroyed for good."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from events.database import Database as Connections
from events.encryption.data_keys import FRESH, ProjectDataKeys
from events.encryption.wrapping import Wrapping
from events.encryption.wrapping_key import WrappingKey
from events.errors import SettingsError
from storage.data_key import DataKey, DataKeyDestroyed, DataKeyLost
from storage.store import StorageUnavailable
from tests.postgres import Database

KEY, NEXT_KEY = WrappingKey.fresh(), WrappingKey.fresh()


class Processes:
    """Processes on one database, each with its own wrapping keys, and one clock for all."""

    def __init__(self, database: Connections, superuser_url: str) -> None:
        self.now = 0.0
        self._database = database
        self._superuser_url = superuser_url

    def start(self, *keys: WrappingKey, encrypts: bool = True) -> ProjectDataKeys:
        wrapping = Wrapping(keys) if keys else None
        return ProjectDataKeys(self._database, wrapping, encrypts=encrypts, clock=lambda: self.now)

    async def hand(self, statement: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self._superuser_url)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()


@pytest.fixture
async def processes(database: Database) -> AsyncIterator[Processes]:
    connections = await Connections.open(database.app_url, connections=4)
    processes = Processes(connections, database.superuser_url)
    await processes.hand("TRUNCATE data_keys")
    yield processes
    await connections.close()


async def made(keys: ProjectDataKeys, project: str = "p") -> DataKey:
    key = await keys.to_encrypt(project)
    assert key is not None
    return key


async def test_a_project_has_one_key_whoever_asks_first(processes: Processes) -> None:
    asked = [processes.start(KEY) for _ in range(4)]
    keys = await asyncio.gather(*(made(one) for one in asked for _ in range(3)))
    assert len({(key.id, key.secret) for key in keys}) == 1
    assert (await made(asked[0], "other")).id != keys[0].id
    assert (await processes.start(KEY).to_decrypt(keys[0].id)).secret == keys[0].secret


async def test_the_database_never_has_the_key_itself(processes: Processes) -> None:
    key = await made(processes.start(KEY))
    [row] = await processes.hand("SELECT * FROM data_keys")
    assert key.secret not in row["wrapped"]
    assert (row["project_id"], row["wrapped_by"], row["destroyed_at"]) == ("p", KEY.id, None)


async def test_what_does_not_encrypt_still_decrypts(processes: Processes) -> None:
    key = await made(processes.start(KEY))
    off = processes.start(KEY, encrypts=False)
    assert await off.to_encrypt("p") is None
    assert (await off.to_decrypt(key.id)).secret == key.secret


async def test_a_destroyed_key_is_gone_from_every_process(processes: Processes) -> None:
    one, other = processes.start(KEY), processes.start(KEY)
    key, kept = await made(one), await made(one, "other")
    await other.to_decrypt(key.id)
    assert await processes.start(encrypts=False).destroy("p")
    assert not await one.destroy("p")
    processes.now += FRESH
    for process in (one, other):
        with pytest.raises(DataKeyDestroyed, match=f"{key.id} of project p was destroyed"):
            await process.to_decrypt(key.id)
    assert (await other.to_decrypt(kept.id)).secret == kept.secret
    assert (await made(other)).id != key.id
    [row] = await processes.hand("SELECT * FROM data_keys WHERE destroyed_at IS NOT NULL")
    assert (row["id"], row["wrapped"], row["wrapped_by"]) == (key.id, None, None)


async def test_the_process_that_destroys_forgets_at_once(processes: Processes) -> None:
    keys = processes.start(KEY)
    key = await made(keys)
    await keys.destroy("p")
    with pytest.raises(DataKeyDestroyed):
        await keys.to_decrypt(key.id)


async def test_a_key_that_the_database_lost_or_that_was_changed_there_is_lost(processes: Processes) -> None:
    with pytest.raises(DataKeyLost, match="the database has no data key"):
        await processes.start(KEY).to_decrypt(DataKey.fresh().id)
    key = await made(processes.start(KEY))
    await processes.hand("UPDATE data_keys SET project_id = 'thief'")
    with pytest.raises(DataKeyLost, match="project thief is not what wrapping key"):
        await processes.start(KEY).to_decrypt(key.id)


async def test_a_wrapping_key_that_is_missing_is_told_at_the_start_and_at_use(processes: Processes) -> None:
    key = await made(processes.start(KEY))
    await processes.start(NEXT_KEY, KEY).require_wrapping()
    for without in (processes.start(NEXT_KEY), processes.start(encrypts=False)):
        with pytest.raises(SettingsError, match=f"{KEY.id}.*BATCHMILL_WRAPPING_KEY_FILE"):
            await without.require_wrapping()
        with pytest.raises(StorageUnavailable, match=f"{KEY.id}.*BATCHMILL_WRAPPING_KEY_FILE"):
            await without.to_decrypt(key.id)
    with pytest.raises(SettingsError, match="no wrapping key is given"):
        await processes.start(encrypts=True).require_wrapping()


async def test_nothing_is_asked_for_where_nothing_is_encrypted(processes: Processes) -> None:
    await processes.start(encrypts=False).require_wrapping()
    assert await processes.start(encrypts=False).to_encrypt("p") is None


async def test_after_rewrapping_the_old_key_is_of_use_for_old_copies_only(processes: Processes) -> None:
    running = processes.start(KEY)
    keys = [await made(running, f"p{n}") for n in range(3)]
    await running.destroy("p2")
    [copy, *_] = await processes.hand("SELECT * FROM data_keys ORDER BY project_id")
    rotated = processes.start(NEXT_KEY, KEY)
    assert await rotated.rewrap() == 2
    assert await rotated.rewrap() == 0
    assert await rotated.wrapped_by() == [(NEXT_KEY.id, 2)]
    only_new = processes.start(NEXT_KEY)
    await only_new.require_wrapping()
    for key in keys[:2]:
        assert (await only_new.to_decrypt(key.id)).secret == key.secret
    processes.now += FRESH
    assert (await running.to_decrypt(keys[0].id)).secret == keys[0].secret  # it knows the key already
    with pytest.raises(DataKeyLost):
        NEXT_KEY.unwrap(copy["wrapped"], copy["id"], copy["project_id"])
    assert KEY.unwrap(copy["wrapped"], copy["id"], copy["project_id"]).secret == keys[0].secret
