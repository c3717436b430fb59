"""The SDK from upload to results: every endpoint, every reason to refuse an input, the habits of clients."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import (
    Batch,
    BatchUsage,
    Completion,
    CreateEmbeddingResponse,
    ModerationCreateResponse,
)
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

from tests.contract.mill import (
    CHAT,
    ENDED,
    KEY,
    PATIENCE,
    Embedded,
    Mill,
    Pods,
    ask,
    chat,
    joined,
    keys,
    request,
    results,
    submit,
    until_ended,
)

LINE_ID = re.compile(r"batch_req_[0-9a-f]{32}")


@pytest.fixture(scope="module")
def served(place: Embedded | Pods) -> Iterator[Mill]:
    """A mill whose upstream echoes."""
    echo = ("cli.main", "practice-upstream", "--port", "0", "--latency", "0ms")
    with place.mill(*echo, max_batch_lines="150", max_line_bytes="200000") as served:
        yield served


@pytest.fixture
def client(served: Mill) -> Iterator[OpenAI]:
    with OpenAI(base_url=served.url, api_key=KEY) as client:
        yield client


@pytest.fixture
async def async_client(served: Mill) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=served.url, api_key=KEY) as client:
        yield client


ENDPOINTS: list[tuple[str, dict[str, object], type[BaseModel], tuple[int, int]]] = [
    (CHAT, ask("four words for you"), ChatCompletion, (4, 5)),
    ("/v1/responses", {"model": "practice", "input": "three plain words"}, Response, (3, 4)),
    ("/v1/completions", {"model": "practice", "prompt": "two words"}, Completion, (2, 3)),
    (
        "/v1/embeddings",
        {"model": "practice", "input": ["one", "and two"]},
        CreateEmbeddingResponse,
        (3, 0),
    ),
    ("/v1/moderations", {"model": "practice", "input": "harmless"}, ModerationCreateResponse, (0, 0)),
]


@pytest.mark.parametrize(("endpoint", "body", "kind", "tokens"), ENDPOINTS, ids=[e[0] for e in ENDPOINTS])
def test_results_of_every_endpoint_are_what_the_sdk_knows(
    client: OpenAI,
    endpoint: str,
    body: dict[str, object],
    kind: type[BaseModel],
    tokens: tuple[int, int],
) -> None:
    content = joined(request(custom_id, body, endpoint) for custom_id in ("b", "a"))
    done = until_ended(client, submit(client, content, endpoint))
    assert (done.status, done.error_file_id, done.errors) == ("completed", None, None)
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed) == (2, 2)
    assert done.usage == usage(2 * tokens[0], 2 * tokens[1])
    found = results(client, done.output_file_id)
    assert [line["custom_id"] for line in found] == ["b", "a"]
    for line in found:
        assert list(line) == ["id", "custom_id", "response", "error"]
        assert LINE_ID.fullmatch(line["id"])
        assert line["error"] is None
        assert list(line["response"]) == ["status_code", "request_id", "body"]
        assert line["response"]["status_code"] == 200
        assert line["response"]["request_id"]
        kind.model_validate(line["response"]["body"])


def usage(taken: int, given: int) -> BatchUsage:
    return BatchUsage.model_validate(
        {
            "input_tokens": taken,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": given,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": taken + given,
        }
    )


def test_good_and_bad_lines_go_to_two_files(client: OpenAI) -> None:
    refused = {"model": "practice", "messages": None}
    content = joined([request("good", ask("hello")), request("bad", refused), request("too", ask("bye"))])
    done = until_ended(client, submit(client, content))
    assert done.status == "completed"
    assert done.request_counts is not None
    assert done.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}
    assert [line["custom_id"] for line in results(client, done.output_file_id)] == ["good", "too"]
    (bad,) = results(client, done.error_file_id)
    assert (bad["custom_id"], bad["error"], bad["response"]["status_code"]) == ("bad", None, 400)
    assert bad["response"]["body"]["error"]["param"] == "messages"
    assert done.output_file_id is not None
    assert done.error_file_id is not None
    for file_id, kind in ((done.output_file_id, "output"), (done.error_file_id, "error")):
        file = client.files.retrieve(file_id)
        assert (file.filename, file.purpose) == (f"{done.id}_{kind}.jsonl", "batch_output")
        assert file.expires_at == file.created_at + 30 * 86_400


def test_a_batch_whose_every_line_failed_is_completed_without_output(client: OpenAI) -> None:
    content = joined(request(str(n), {"model": "practice", "messages": None}) for n in range(2))
    done = until_ended(client, submit(client, content))
    assert (done.status, done.output_file_id) == ("completed", None)
    assert done.request_counts is not None
    assert done.request_counts.model_dump() == {"total": 2, "completed": 0, "failed": 2}
    assert len(results(client, done.error_file_id)) == 2
    assert done.usage == usage(0, 0)


def line(**changes: object) -> bytes:
    """A good chat line but for `changes`; None takes a key away."""
    whole = {"custom_id": "x", "method": "POST", "url": CHAT, "body": ask("hello")} | changes
    return json.dumps({key: value for key, value in whole.items() if value is not None}).encode()


def body(**changes: object) -> bytes:
    """A good chat line but for `changes` of its body."""
    whole = ask("hello") | changes
    return line(body={key: value for key, value in whole.items() if value is not None})


WRONG_LINES: list[tuple[str, bytes, str, str | None, str]] = [
    ("no JSON", b"{", "invalid_json_line", None, "This line is not parseable as valid JSON."),
    ("no object", b"[1]", "invalid_json_line", None, "This line is not parseable as valid JSON."),
    ("no UTF-8", b'{"custom_id":"\xff"}', "invalid_json_line", None, "This line is not"),
    *(
        (f"no {name}", line(**{name: None}), "missing_required_parameter", name, f"parameter: '{name}'.")
        for name in ("custom_id", "method", "url", "body")
    ),
    ("a number", line(custom_id=7), "invalid_type", "custom_id", "expected a string, but got an integer"),
    ("empty id", line(custom_id=""), "empty_string", "custom_id", "Invalid 'custom_id': empty string."),
    ("long id", line(custom_id="x" * 513), "string_above_max_length", "custom_id", "maximum length 512"),
    (
        "GET",
        line(method="GET"),
        "invalid_value",
        "method",
        "Invalid value: 'GET'. Supported values are: 'POST'.",
    ),
    ("another URL", line(url="/v1/embeddings"), "invalid_url", "url", "does not match the batch endpoint."),
    ("body a list", line(body=[1]), "invalid_type", "body", "expected an object, but got an array"),
    ("no model", body(model=None), "invalid_request", "body.model", "Model parameter is required."),
    (
        "unknown model",
        body(model="gpt-9"),
        "model_not_found",
        "body.model",
        "The provided model 'gpt-9' is not supported by the Batch API.",
    ),
    ("no messages", body(messages=None), "missing_required_parameter", "body.messages", "'messages'."),
    (
        "stream",
        body(stream=True),
        "streaming_unsupported",
        "body.stream",
        "Chat Completions: Streaming is not supported in the Batch API.",
    ),
    ("too long", body(user="x" * 200_000), "invalid_value", None, "over the maximum of 200,000 bytes."),
    (
        "model twice",
        b'{"custom_id":"x","method":"POST","url":"/v1/chat/completions",'
        b'"body":{"model":"practice","model":"practice","messages":[]}}',
        "invalid_request",
        "body.model",
        "given more than once",
    ),
]


@pytest.mark.parametrize(
    ("wrong", "code", "param", "message"), [w[1:] for w in WRONG_LINES], ids=[w[0] for w in WRONG_LINES]
)
def test_a_wrong_line_fails_its_batch_with_its_number(
    client: OpenAI, wrong: bytes, code: str, param: str | None, message: str
) -> None:
    failed = until_ended(client, submit(client, joined([line(custom_id="first"), b"", wrong])))
    assert errors_of(failed) == [(code, param, 3)]
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert message in str(failed.errors.data[0].message)
    untouched(failed)


def errors_of(failed: Any) -> list[tuple[str, str | None, int | None]]:
    """Code, param and line of a failed batch's errors."""
    assert failed.status == "failed", failed
    assert failed.errors.object == "list"
    return [(error.code, error.param, error.line) for error in failed.errors.data]


def untouched(failed: Any) -> None:
    """Nothing of it was run, and it says so."""
    assert failed.request_counts.model_dump() == {"total": 0, "completed": 0, "failed": 0}
    assert (failed.output_file_id, failed.error_file_id, failed.usage, failed.model) == (None,) * 4
    assert failed.failed_at >= failed.created_at
    for never in ("in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"):
        assert getattr(failed, f"{never}_at") is None


WRONG_FILES: list[tuple[str, bytes, str, list[tuple[str, str | None, int | None]]]] = [
    ("nothing but blank lines", b"\n \r\n\n", CHAT, [("empty_file", None, None)]),
    (
        "the same custom_id",
        joined([line(custom_id="a"), line(custom_id="b"), line(custom_id="\u0061")]),
        CHAT,
        [("duplicate_custom_id", "custom_id", 3)],
    ),
    (
        "two models",
        joined(
            request(f"{n}", {"model": "practice", "prompt": f"{n}"} | {"model": model}, "/v1/completions")
            for n, model in enumerate(["practice", "other", "practice"])
        ),
        "/v1/completions",
        [("model_not_found", "body.model", 2)],
    ),
    (
        "too many lines",
        joined(line(custom_id=str(n)) for n in range(151)),
        CHAT,
        [("too_many_tasks", None, None)],
    ),
    (
        "several mistakes",
        joined(
            [line(), b"no JSON", line(custom_id="y", url="/v1/x"), line(), line(custom_id="z", method="PUT")]
        ),
        CHAT,
        [
            ("invalid_json_line", None, 2),
            ("invalid_url", "url", 3),
            ("duplicate_custom_id", "custom_id", 4),
            ("invalid_value", "method", 5),
        ],
    ),
    (
        "mistakes without end",
        joined([line(), *[b"no JSON"] * 140]),
        CHAT,
        [("invalid_json_line", None, n) for n in range(2, 102)],
    ),
    (
        "too many texts",
        joined([request("x", {"model": "practice", "input": ["a"] * 20_000}, "/v1/embeddings")] * 3),
        "/v1/embeddings",
        [
            ("too_many_tasks", None, None),
            ("duplicate_custom_id", "custom_id", 2),
            ("duplicate_custom_id", "custom_id", 3),
        ],
    ),
]


@pytest.mark.parametrize(
    ("content", "endpoint", "errors"), [w[1:] for w in WRONG_FILES], ids=[w[0] for w in WRONG_FILES]
)
def test_a_wrong_file_fails_its_batch(
    client: OpenAI, content: bytes, endpoint: str, errors: list[tuple[str, str | None, int | None]]
) -> None:
    failed = until_ended(client, submit(client, content, endpoint))
    assert errors_of(failed) == errors
    untouched(failed)


def test_a_file_that_is_not_there_fails_the_batch_and_not_its_creation(client: OpenAI) -> None:
    batch = client.batches.create(input_file_id="file-none", endpoint=CHAT, completion_window="24h")
    assert batch.status == "validating"
    failed = until_ended(client, batch)
    assert errors_of(failed) == [("invalid_request", "file_id", None)]
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert str(failed.errors.data[0].message).startswith("Cannot find file file-none, or organization ")


def test_a_file_of_another_project_is_not_there(served: Mill, client: OpenAI) -> None:
    file = client.files.create(file=chat("line-0"), purpose="batch")
    stranger = served.client(keys("create", "--project", "stranger", of=served))
    batch = stranger.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert errors_of(until_ended(stranger, batch)) == [("invalid_request", "file_id", None)]


def test_inputs_may_be_written_as_their_clients_write_them(client: OpenAI) -> None:
    backwards = b'{"body":{"messages":[{"content":"hi","role":"user"}],"stream":false,"model":"practice"},'
    backwards += b'"url":"/v1/chat/completions","method":"POST","custom_id":"backwards|1","comment":[1]}'
    content = b"\xef\xbb\xbf" + b"\r\n".join([backwards, b"", request("é \U0001f600", ask("hi"))])
    file = client.files.create(file=("upload", content, "application/jsonl"), purpose="batch")
    assert client.files.wait_for_processing(file.id, poll_interval=0.01).status == "processed"
    batch = client.batches.create(completion_window="24h", endpoint=CHAT, input_file_id=file.id, metadata={})
    assert batch.metadata == {}
    client.files.delete(file.id)
    done = until_ended(client.with_options(max_retries=5, timeout=60), batch)
    assert done.status == "completed"
    lines = results(client, done.output_file_id)
    assert [found["custom_id"] for found in lines] == ["backwards|1", "é \U0001f600"]
    assert done.metadata == {}
    assert done.input_file_id == file.id


async def looks(client: AsyncOpenAI, batch_id: str) -> AsyncIterator[Batch]:
    """What a client sees that asks again and again."""
    while True:
        yield await client.batches.retrieve(batch_id)
        await asyncio.sleep(0.05)


async def test_the_asynchronous_sdk_runs_many_batches_at_once(async_client: AsyncOpenAI) -> None:
    async def one(n: int) -> list[Mapping[str, Any]]:
        file = await async_client.files.create(file=chat(*[f"hello {n}"] * 20), purpose="batch")
        await async_client.files.wait_for_processing(file.id, poll_interval=0.01)
        batch = await async_client.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"n": str(n)}
        )
        async with asyncio.timeout(PATIENCE):
            async for seen in looks(async_client, batch.id):
                if seen.status in ENDED:
                    break
        assert seen.metadata == {"n": str(n)}
        assert seen.output_file_id is not None
        content = await async_client.files.content(seen.output_file_id)
        return [json.loads(found) for found in content.text.splitlines()]

    for n, lines in enumerate(await asyncio.gather(*map(one, range(5)))):
        assert len(lines) == 20
        for found in lines:
            completion = ChatCompletion.model_validate(found["response"]["body"])
            assert completion.choices[0].message.content == f"Echo: hello {n}"
