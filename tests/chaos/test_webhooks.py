"""`kill -9` while messages are under way: each end of a batch is told to each endpoint, and a message that is
sent twice says that it is the same."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from openai import OpenAI

from tests.chaos.inputs import batch_of, fresh_names
from tests.chaos.mill import BOUND, PATIENCE, mill
from tests.chaos.patient_client import PatientClient
from tests.receiver import Heard, Receiver, answer, receiver, taken
from tests.upstream import LedgerUpstream

BATCHES: Final = 12
KILLS: Final = 2


def slow_to_answer(heard: Heard) -> bytes | None:
    """One endpoint takes what comes, and one hangs."""
    return answer(204) if heard.path == "/takes" else None


async def endpoint(client: PatientClient, url: str) -> tuple[str, str]:
    """The id of a new endpoint, and its secret."""
    wanted = {"name": "n", "url": url, "event_types": ["batch.completed"]}
    made = (await client.post("/webhook_endpoints", wanted, "")).json
    return made["id"], made["signing_secret"]


def told(hearing: Receiver) -> Mapping[str, Mapping[str, list[Heard]]]:
    """What each path has heard of each batch."""
    found: dict[str, dict[str, list[Heard]]] = defaultdict(lambda: defaultdict(list))
    for heard in hearing.heard:
        found[heard.path][json.loads(heard.body)["data"]["id"]].append(heard)
    return found


async def delivered(client: PatientClient, endpoint_id: str) -> set[str]:
    """The batches of which an endpoint has taken the message."""
    path = f"/batchmill/webhook_endpoints/{endpoint_id}/deliveries"
    rows = (await client.ask("GET", f"{path}?limit=100")).json["data"]
    return {row["batch_id"] for row in rows if row["status"] == "delivered"}


@pytest.mark.soak  # one death of a sender is among the tests of commands
async def test_no_message_is_lost_when_its_sender_is_killed(
    tmp_path: Path, upstream: LedgerUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        mill(tmp_path / "data", upstream.url, webhook_networks="127.0.0.0/8") as serving,
        aiohttp.ClientSession() as session,
        receiver(slow_to_answer) as hearing,
    ):
        client = PatientClient(serving, session)
        paths = ("/takes", "/hangs")
        endpoints = {path: await endpoint(client, hearing.url(path)) for path in paths}
        batches = set()
        for kill in range(1, KILLS + 1):
            for _ in range(BATCHES // KILLS):
                batches.add(await serving.submit(batch_of(fresh_names(1))))
            while len(told(hearing)["/takes"]) < kill * BATCHES // KILLS - 2 or "/hangs" not in told(hearing):
                await hearing.until(len(hearing.heard) + 1)
            await serving.kill()
            if kill == KILLS:
                hearing.answering = taken
            await serving.start()
        async with asyncio.timeout(BOUND):
            for _, (id, _secret) in endpoints.items():
                while await delivered(client, id) != batches:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(PATIENCE)
        assert await serving.stop() == 0

    sdk = OpenAI(api_key="sk-none")
    found = told(hearing)
    for path, (_, secret) in endpoints.items():
        assert found[path].keys() == batches
        for messages in found[path].values():
            assert len({(one.headers["webhook-id"], one.body) for one in messages}) == 1
            sdk.webhooks.verify_signature(messages[-1].body, messages[-1].headers, secret=secret)
    again = len(hearing.heard) - len(paths) * len(batches)
    with capsys.disabled():
        print(f"\n{KILLS} kills while {BATCHES} ends of batches are told to 2: {again} sent again, 0 lost")
