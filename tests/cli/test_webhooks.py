"""Webhooks of whole processes: made by commands, sent by a server, also by one that was killed at it."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from openai.types.webhooks import BatchFailedWebhookEvent

from cli.exit_codes import ExitCode
from tests.receiver import PATIENCE, Receiver, receiver, silent, taken
from tests.serve_process import ran_here, serve_process

KEY = "sk-operator"


@pytest.fixture
async def hearing() -> AsyncIterator[Receiver]:
    async with receiver() as found:
        yield found


@pytest.fixture
def settings(data_folder: Path) -> dict[str, str]:
    return {
        "BATCHMILL_DATA_DIR": str(data_folder),
        "BATCHMILL_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "BATCHMILL_API_KEY": KEY,
    }


async def done(settings: dict[str, str], *arguments: str) -> str:
    """What `batchmill webhooks …` prints, when it ends well."""
    ended = await asyncio.to_thread(ran_here, "webhooks", *arguments, settings=settings)
    assert ended.returncode == ExitCode.OK, ended.stderr
    return ended.stdout


async def delivery(settings: dict[str, str], endpoint: str) -> Any:
    """The one delivery to an endpoint, when it was taken."""
    async with asyncio.timeout(PATIENCE):
        while True:
            [found] = json.loads(await done(settings, "deliveries", endpoint, "--json"))
            if found["state"] == "delivered":
                return found


def fail_a_batch(client: OpenAI) -> str:
    """A batch whose input there is not: it fails at once, and needs no upstream."""
    return client.batches.create(
        input_file_id="file-none", endpoint="/v1/chat/completions", completion_window="24h"
    ).id


async def test_a_message_under_way_when_everything_is_killed_comes_again(
    settings: dict[str, str], hearing: Receiver
) -> None:
    made = json.loads(await done(settings, "create", hearing.url("/hook"), "--json"))
    hearing.answering = silent
    with serve_process(settings=settings) as served:
        url = await asyncio.to_thread(lambda: served.url)
        batch_id = await asyncio.to_thread(fail_a_batch, OpenAI(base_url=url, api_key=KEY))
        await hearing.until(1)
        await asyncio.to_thread(served.kill_all)
    hearing.answering = taken
    with serve_process(settings=settings) as served:
        await asyncio.to_thread(lambda: served.url)
        first, again = await hearing.until(2)
        found = await delivery(settings, made["id"])
    assert first.headers["webhook-id"] == again.headers["webhook-id"] == found["id"]
    assert first.body == again.body
    event = OpenAI(api_key=KEY).webhooks.unwrap(again.body, again.headers, secret=made["signing_secret"])
    assert isinstance(event, BatchFailedWebhookEvent)
    assert event.data.id == batch_id == found["batch_id"]
    await done(settings, "redeliver", made["id"], found["id"])
    [due] = json.loads(await done(settings, "deliveries", made["id"], "--json"))
    assert (due["state"], due["attempts"]) == ("pending", 1)


async def test_what_a_client_does_an_operator_does_beside_a_server(
    settings: dict[str, str], hearing: Receiver, data_folder: Path
) -> None:
    with serve_process(settings=settings) as served:
        await asyncio.to_thread(lambda: served.url)
        made = json.loads(await done(settings, "create", hearing.url(), "--name", "nightly", "--json"))
        endpoint = made["id"]
        [listed] = json.loads(await done(settings, "list", "--json"))
        assert (listed["id"], listed["name"], listed["url"]) == (endpoint, "nightly", hearing.url())
        assert listed["secret"] == "whsec_…" + made["signing_secret"][-4:]
        assert len(listed["events"]) == 4

        rotated = (await done(settings, "rotate", endpoint, "--keep-old")).strip()
        assert "answered 204" in await done(settings, "test", endpoint, "--event", "batch.expired")
        [heard] = hearing.heard
        for secret in (made["signing_secret"], rotated):
            OpenAI(api_key=KEY).webhooks.verify_signature(heard.body, heard.headers, secret=secret)

        await done(settings, "update", endpoint, "--name", "hourly", "--event", "batch.failed")
        await done(settings, "enable", endpoint)
        [listed] = json.loads(await done(settings, "list", "--json"))
        assert (listed["name"], listed["events"]) == ("hourly", ["batch.failed"])

        await done(settings, "delete", endpoint)
        assert json.loads(await done(settings, "list", "--json")) == []
        gone = await asyncio.to_thread(ran_here, "webhooks", "rotate", endpoint, settings=settings)
        assert gone.returncode == ExitCode.NOT_FOUND
    assert stat.S_IMODE((data_folder / "webhook-key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "https://169.254.169.254/"), "169.254.169.254 is not public"),
        (("create", "https://example.com/", "--event", "batch.done"), "there is no event 'batch.done'"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, str], arguments: tuple[str, ...], told: str) -> None:
    refused = ran_here("webhooks", *arguments, settings=settings)
    assert refused.returncode == ExitCode.USAGE
    assert told in refused.stderr


def test_a_short_key_is_refused(settings: dict[str, str]) -> None:
    refused = ran_here("webhooks", "list", settings=settings | {"BATCHMILL_WEBHOOK_KEY": "short"})
    assert refused.returncode == ExitCode.USAGE
    assert "webhook_key must have at least 32 characters" in refused.stderr
