"""The SDK's client for Azure, which has paths and a header of its own, finds everything too."""

from collections.abc import Iterator

import pytest
from openai import AzureOpenAI, NotFoundError, OpenAI

from tests.api.client import Client
from tests.api.serving import Project, Served

LINE = b'{"custom_id":"a/b","method":"POST","url":"/v1/embeddings","body":{"model":"small","input":"hi"}}\n'


@pytest.fixture
def azure(served: Served, project: Project) -> Iterator[AzureOpenAI]:
    address = f"http://127.0.0.1:{served.port}"
    with AzureOpenAI(azure_endpoint=address, api_key=project.key, api_version="2026-03-01") as client:
        yield client


def test_files_and_batches_are_found(azure: AzureOpenAI) -> None:
    file = azure.files.create(file=("in.jsonl", LINE), purpose="batch")
    assert azure.files.content(file.id).content == LINE
    batches = [
        azure.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h").id
        for _ in range(3)
    ]
    assert [batch.id for batch in azure.batches.list(limit=2)] == batches[::-1]
    assert azure.get(f"/batches/{batches[0]}/lines/a%2Fb", cast_to=dict)["custom_id"] == "a/b"
    assert azure.batches.cancel(batches[0]).status == "cancelled"


def test_the_newer_path_of_azure_is_known(served: Served, project: Project) -> None:
    base_url = f"http://127.0.0.1:{served.port}/openai/v1"
    with OpenAI(base_url=base_url, api_key=project.key) as client:
        assert client.models.retrieve("org/large").id == "org/large"


@pytest.mark.parametrize(
    "path", ["/openai", "/openai/", "/openai/v1", "/openai/foo", "/openai/v1/v1/batches"]
)
def test_what_is_not_there_is_named_as_it_was_asked_for(project: Project, path: str) -> None:
    answer = project.client.get(path)
    assert (answer.status, answer.error["message"]) == (404, f"Invalid URL (GET {path})")


def test_a_key_is_needed_as_everywhere(served: Served, azure: AzureOpenAI) -> None:
    assert Client(served.port, None).get("/openai/batches").status == 401
    with pytest.raises(NotFoundError, match="No batch found with id 'batch_x'"):
        azure.batches.retrieve("batch_x")
