"""Processes that are told to stop while there is much to do: each ends well, nothing is lost or run again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import aiohttp

from tests.chaos.checker import Story, broken_promises
from tests.chaos.fleet import Api, Worker, fleet
from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import BOUND, KEY, PATIENCE, Mill, Refused, polling
from tests.chaos.proxy import place_of, proxy_to, through
from tests.chaos.telling import Tell
from tests.chaos.witness import story_of, with_visits
from tests.postgres import Database
from tests.rabbit import Broker
from tests.upstream import LedgerUpstream

DRAIN: Final = 5.0
GRACE: Final = DRAIN + 15.0
"""What an orchestrator gives a process before it kills it: in `deploy/` a good deal more than the drain."""
SETTINGS: Final = {"concurrency": "8", "chunk_lines": "16", "drain": f"{DRAIN:g}s"}
ROLES: Final = ("lead", "plan", "run", "lead,plan,run")
T = TypeVar("T")


async def stopped(one: Mill) -> float:
    """Stops a process; returns how long that took."""
    began = time.monotonic()
    async with asyncio.timeout(GRACE):
        assert await one.stop() == 0
    return time.monotonic() - began


async def asked(what: Callable[[], Awaitable[T]]) -> T:
    """What a client gets that asks again where it got no answer."""
    async with asyncio.timeout(BOUND):
        while True:
            try:
                return await what()
            except (aiohttp.ClientError, Refused):
                await asyncio.sleep(PATIENCE)


async def batches(api: Api, size: int, done: asyncio.Event) -> list[Story]:
    """One batch of so many lines after the other, until `done`."""
    stories = []
    while not done.is_set():
        lines = fresh_names(size)
        file_id = await asked(partial(api.upload, batch_of(lines)))
        batch_id = await asked(partial(api.batch_of_file, file_id))
        async with polling(api, batch_id) as polls:
            await polls.until_ended()
            stories.append(await asked(partial(story_of, api, polls, lines, None)))
    return stories


async def test_every_kind_of_process_stops_under_load_and_loses_nothing(
    tmp_path: Path,
    upstream: LedgerUpstream,
    ledger: Path,
    database: Database,
    broker: Broker,
    tell: Tell,
) -> None:
    upstream.latency = 0.05
    took: dict[str, float] = {}
    async with fleet(tmp_path, upstream.url, database, broker.url, SETTINGS, ROLES) as pods:
        done = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(batches(pods.api, size, done)) for size in (20, 400)]
            await upstream.until(lambda upstream: upstream.tries >= 100)
            for one, kind in zip(pods.everybody, ("api", *ROLES), strict=True):
                took[f"{one.name} ({kind})"] = await stopped(one)
                await one.start()
            done.set()
        for one in pods.everybody:
            await stopped(one)
    stories = with_visits([story for client in clients for story in client.result()], ledger)
    assert [broken_promises(story) for story in stories] == [[]] * len(stories)
    assert {story.polls[-1]["status"] for story in stories} == {"completed"}
    assert upstream.tries == sum(len(story.lines) for story in stories)
    tell("stopped in s: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in took.items()))


async def test_a_start_that_waits_for_the_database_is_cut_short(
    tmp_path: Path, upstream: LedgerUpstream, database: Database
) -> None:
    async with proxy_to(place_of(database.app_url)) as proxy:
        proxy.stall()
        settings = SETTINGS | {
            "database_url": through(proxy, database.app_url),
            "storage_url": (tmp_path / "files").as_uri(),
        }
        starting = [kind(tmp_path / kind.COMMAND, upstream.url, settings) for kind in (Api, Worker)]
        try:
            for one in starting:
                await one.launch()
            async with asyncio.timeout(BOUND):
                while len(proxy.passages) < len(starting):  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(PATIENCE)
            assert await asyncio.gather(*(one.stop() for one in starting)) == [0, 0]
        finally:
            for one in starting:
                await one.close()
    assert not any(one.begun or "Traceback" in line for one in starting for line in one.said)


async def test_an_upload_that_has_begun_is_taken_by_an_api_that_stops(
    tmp_path: Path, upstream: LedgerUpstream, database: Database
) -> None:
    content = batch_of(fresh_names(6000))
    half = len(content) // 2
    stopping = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield content[:half]
        await stopping.wait()
        yield content[half:]

    async with fleet(tmp_path, upstream.url, database, None, SETTINGS, ()) as pods:
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", body(), filename="input.jsonl")
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            sent = asyncio.create_task(session.post(pods.api.url + "/files", data=form))
            while not any(path.is_file() for path in pods.api.files.rglob("*")):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(PATIENCE)
            end = asyncio.create_task(pods.api.stop())
            await pods.api.until_said('"event": "stopping"')
            stopping.set()
            async with await sent as answer:
                assert answer.status == 200
                uploaded = await answer.json()
            assert await end == 0
        await pods.api.start()
        assert await pods.api.content(uploaded["id"]) == content
