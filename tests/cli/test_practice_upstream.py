"""The practice upstream: an echo in every endpoint's shape, with honest numbers."""

import os
import signal
import subprocess
import sys

import aiohttp
import msgspec
import openai
import pytest

from cli.practice.answers import Refusal, answer
from cli.practice.upstream import PracticeUpstream, Temper, start_practice_upstream
from events.errors import SettingsError

HELLO = [{"role": "user", "content": "two words"}]


async def started(temper: Temper | None = None, key: str | None = None) -> PracticeUpstream:
    return await start_practice_upstream(port=0, temper=temper, key=key)


async def test_the_official_client_understands_every_answer() -> None:
    upstream = await started(key="sk-1")
    async with openai.AsyncOpenAI(base_url=upstream.url, api_key="sk-1") as client:
        assert [model.id async for model in client.models.list()] == ["practice"]
        chat = await client.chat.completions.create(
            model="practice", messages=[{"role": "user", "content": "a b"}]
        )
        assert chat.choices[0].message.content == "Echo: a b"
        assert chat.usage is not None
        assert (chat.usage.prompt_tokens, chat.usage.completion_tokens, chat.usage.total_tokens) == (2, 3, 5)
        response = await client.responses.create(model="practice", instructions="be brief", input="a b")
        assert response.output_text == "Echo: be brief a b"
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.output_tokens) == (4, 5)
        text = await client.completions.create(model="practice", prompt="a b", max_tokens=2)
        assert (text.choices[0].text, text.choices[0].finish_reason) == ("Echo: a", "length")
        vectors = await client.embeddings.create(model="practice", input=["a b", "c"], dimensions=3)
        assert [len(each.embedding) for each in vectors.data] == [3, 3]
        assert vectors.usage.prompt_tokens == 3
        moderated = await client.moderations.create(model="practice", input=["a", "b"])
        assert [result.flagged for result in moderated.results] == [False, False]
    await upstream.close()


def test_the_same_request_gets_the_same_answer() -> None:
    body = msgspec.json.encode({"model": "practice", "messages": HELLO})
    assert answer("/v1/chat/completions", body) == answer("/v1/chat/completions", body)


def test_every_text_of_a_request_counts() -> None:
    parts = [{"type": "text", "text": "one two"}, {"type": "image_url", "image_url": {"url": "http://u"}}]
    messages = [{"role": "system", "content": "three"}, {"role": "user", "content": parts}]
    body = msgspec.json.encode({"model": "practice", "messages": messages})
    usage = answer("/v1/chat/completions", body)["usage"]
    assert isinstance(usage, dict)
    assert usage["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("endpoint", "body", "status"),
    [
        ("/v1/elsewhere", b"{}", 404),
        ("/v1/embeddings", b"{", 400),
        ("/v1/embeddings", b"[]", 400),
        ("/v1/embeddings", b"{}", 400),
        ("/v1/embeddings", b'{"model":"practice"}', 400),
        ("/v1/embeddings", b'{"model":"gpt-4","input":"a"}', 404),
        ("/v1/embeddings", b'{"model":"practice","input":"a","dimensions":0}', 400),
        ("/v1/chat/completions", b'{"model":"practice","messages":[],"stream":true}', 400),
        ("/v1/chat/completions", b'{"model":"practice","messages":[],"max_tokens":0}', 400),
    ],
)
def test_a_request_that_a_model_server_refuses_is_refused(endpoint: str, body: bytes, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        answer(endpoint, body)
    assert refused.value.status == status


async def statuses(upstream: PracticeUpstream, requests: int) -> list[int]:
    body = {"model": "practice", "messages": HELLO}
    async with aiohttp.ClientSession() as session:
        got = []
        for _ in range(requests):
            async with session.post(f"{upstream.url}/chat/completions", json=body) as response:
                got.append(response.status)
                assert (response.headers.get("Retry-After") == "1") is (response.status == 429)
    return got


async def test_it_fails_as_often_as_it_is_told_to_and_again_the_same_way() -> None:
    runs = []
    for _ in range(2):
        upstream = await started(Temper(error_rate=0.3, throttle_rate=0.3, seed=7))
        runs.append(await statuses(upstream, 60))
        await upstream.close()
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 429, 500}


async def test_a_request_of_many_megabytes_is_read() -> None:
    upstream = await started()
    async with openai.AsyncOpenAI(base_url=upstream.url, api_key="none") as client:
        text = await client.completions.create(model="practice", prompt="x" * (10 << 20), max_tokens=1)
    assert text.choices[0].text == "Echo:"
    await upstream.close()


async def test_a_wrong_key_is_refused() -> None:
    upstream = await started(key="sk-1")
    assert await statuses(upstream, 1) == [401]
    await upstream.close()


async def test_a_port_that_is_taken_is_named_with_the_remedy() -> None:
    upstream = await started()
    taken = int(upstream.url.split(":")[2].removesuffix("/v1"))
    with pytest.raises(SettingsError, match=f"cannot listen at 127.0.0.1:{taken} .* give another --port"):
        await start_practice_upstream(port=taken)
    await upstream.close()


def test_the_command_says_where_it_answers_and_ends_on_a_signal() -> None:
    command = [sys.executable, "-m", "cli.main", "practice-upstream", "--port", "0", "--latency", "1ms"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BATCHMILL_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean) as process:
        assert process.stdout is not None
        assert "http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
