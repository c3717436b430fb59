"""What a user's program does with the official SDK, synchronous: files, batches, models, errors."""

import io

import openai as sdk
import pytest
from openai import OpenAI

from events.batch import BatchFailed
from tests.api.serving import Served

LINE = (
    b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions",'
    b'"body":{"model":"small","messages":[{"role":"user","content":"hi"}]}}\n'
)


def uploaded(openai: OpenAI, content: bytes = LINE, name: str = "in.jsonl") -> str:
    return openai.files.create(file=(name, content), purpose="batch").id


def created(openai: OpenAI, file_id: str) -> sdk.types.Batch:
    return openai.batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
    )


def test_a_file_goes_up_comes_back_and_goes_away(openai: OpenAI) -> None:
    file = openai.files.create(
        file=io.BytesIO(LINE), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.status == "processed"
    assert file.expires_at == file.created_at + 3600
    assert openai.files.retrieve(file.id) == file
    assert openai.files.wait_for_processing(file.id) == file
    assert openai.files.content(file.id).read() == LINE
    with openai.files.with_streaming_response.content(file.id) as content:
        assert b"".join(content.iter_bytes()) == LINE
    assert [listed.id for listed in openai.files.list(purpose="batch")] == [file.id]
    deleted = openai.files.delete(file.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
    assert list(openai.files.list()) == []
    with pytest.raises(sdk.NotFoundError, match="No such File object"):
        openai.files.retrieve(file.id)


def test_a_batch_is_created_found_listed_and_cancelled(openai: OpenAI) -> None:
    file_id = uploaded(openai)
    batch = openai.batches.create(
        input_file_id=file_id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"team": "search"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert batch.status == "validating"
    assert batch.metadata == {"team": "search"}
    assert batch.expires_at == batch.created_at + 86_400
    assert batch.request_counts is not None
    assert batch.request_counts.total == 0
    assert openai.batches.retrieve(batch.id) == batch
    assert [listed.id for listed in openai.batches.list()] == [batch.id]
    cancelled = openai.batches.cancel(batch.id)
    assert cancelled.status == "cancelled"
    assert openai.batches.cancel(batch.id) == cancelled


def test_lists_are_walked_to_their_end(openai: OpenAI) -> None:
    ids = [created(openai, "file-none").id for _ in range(5)][::-1]
    assert [batch.id for batch in openai.batches.list(limit=2)] == ids
    files = [uploaded(openai) for _ in range(3)]
    assert [file.id for file in openai.files.list(limit=1, order="asc")] == files


def test_the_request_id_is_shown(openai: OpenAI) -> None:
    batch = created(openai, "file-none")
    assert (batch._request_id or "").startswith("req_")
    with pytest.raises(sdk.NotFoundError) as caught:
        openai.batches.retrieve("batch_unknown")
    assert (caught.value.request_id or "").startswith("req_")


def test_models_are_found(openai: OpenAI) -> None:
    assert [model.id for model in openai.models.list()] == ["small", "org/large"]
    assert openai.models.retrieve("org/large").id == "org/large"
    with pytest.raises(sdk.NotFoundError) as caught:
        openai.models.retrieve("unknown")
    assert caught.value.code == "model_not_found"


def test_an_error_says_everything(openai: OpenAI) -> None:
    with pytest.raises(sdk.BadRequestError) as caught:
        openai.batches.create(
            input_file_id="file-none",
            endpoint="/v1/x",  # type: ignore[arg-type]  # wrong on purpose
            completion_window="24h",
        )
    error = caught.value
    assert (error.status_code, error.type) == (400, "invalid_request_error")
    assert (error.param, error.code) == ("endpoint", "invalid_value")
    assert "Invalid value: '/v1/x'" in error.message


def test_a_missing_input_is_not_refused(openai: OpenAI) -> None:
    assert created(openai, "file-none").status == "validating"


def test_bad_input_is_refused_at_the_upload(openai: OpenAI) -> None:
    with pytest.raises(sdk.BadRequestError, match=r"Invalid file format for Batch API. Must be .jsonl"):
        uploaded(openai, b"no json")
    with pytest.raises(sdk.BadRequestError, match=r"File is too large."):
        uploaded(openai, LINE + b" " * (2 << 20))


def test_each_status_is_the_exception_it_should_be(base_url: str, served: Served, openai: OpenAI) -> None:
    with OpenAI(base_url=base_url, api_key="sk-wrong-wrong-wrong") as stranger:
        with pytest.raises(sdk.AuthenticationError, match="Incorrect API key provided") as caught:
            stranger.batches.list()
        assert caught.value.code == "invalid_api_key"
    with pytest.raises(sdk.APIStatusError) as too_large:
        openai.files.create(file=("x", b"x" * (6 << 20)), purpose="user_data")
    assert too_large.value.status_code == 413
    with pytest.raises(sdk.BadRequestError, match="limit must be between 1 and 10000"):
        openai.files.list(limit=0)
    with pytest.raises(sdk.BadRequestError, match="Not allowed to download files of purpose: user_data"):
        openai.files.content(openai.files.create(file=("x", b"x"), purpose="user_data").id)


def test_cancelling_what_has_ended_is_asked_only_once(openai: OpenAI, served: Served) -> None:
    """The SDK repeats a 409 twice, with pauses, unless it is told not to."""
    batch = created(openai, "file-none")
    served.happen(batch.id, BatchFailed(()))
    with pytest.raises(sdk.ConflictError, match=r"Cannot cancel a batch with status 'failed'\.") as caught:
        openai.batches.cancel(batch.id)
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"
