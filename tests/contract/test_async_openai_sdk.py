"""What a user's program does with the official SDK, asynchronous."""

import asyncio

import openai as sdk
import pytest
from openai import AsyncOpenAI

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"small","input":"hi"}}\n'


async def test_from_upload_to_cancel(async_openai: AsyncOpenAI) -> None:
    file = await async_openai.files.create(file=("in.jsonl", LINE), purpose="batch")
    batch = await async_openai.batches.create(
        input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
    )
    await async_openai.files.delete(file.id)
    assert (await async_openai.batches.retrieve(batch.id)).status == "validating"
    assert [listed.id async for listed in async_openai.batches.list(limit=1)] == [batch.id]
    assert (await async_openai.batches.cancel(batch.id)).status == "cancelled"


async def test_the_content_comes_back(async_openai: AsyncOpenAI) -> None:
    file = await async_openai.files.create(file=("in.jsonl", LINE), purpose="batch")
    assert (await async_openai.files.content(file.id)).content == LINE


async def test_a_file_goes_up_in_parts(async_openai: AsyncOpenAI) -> None:
    upload = await async_openai.uploads.upload_file_chunked(
        file=LINE * 9,
        filename="in.jsonl",
        bytes=9 * len(LINE),
        mime_type="application/jsonl",
        purpose="batch",
        part_size=100,
    )
    assert (upload.status, upload.object) == ("completed", "upload")
    assert upload.file is not None
    assert (await async_openai.files.content(upload.file.id)).content == LINE * 9
    other = await async_openai.uploads.create(
        bytes=1, filename="x", mime_type="text/plain", purpose="fine-tune"
    )
    assert (await async_openai.uploads.cancel(other.id)).status == "cancelled"
    with pytest.raises(sdk.BadRequestError, match="Cannot add a part to an upload with status 'cancelled'"):
        await async_openai.uploads.parts.create(other.id, data=b"x")


async def test_many_at_once(async_openai: AsyncOpenAI) -> None:
    files = await asyncio.gather(
        *(async_openai.files.create(file=("in.jsonl", LINE), purpose="batch") for _ in range(20))
    )
    batches = await asyncio.gather(
        *(
            async_openai.batches.create(
                input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
            )
            for file in files
        )
    )
    listed = [batch.id async for batch in async_openai.batches.list(limit=7)]
    assert len(listed) == len(set(listed)) == 20
    assert set(listed) == {batch.id for batch in batches}


async def test_errors_are_exceptions(async_openai: AsyncOpenAI) -> None:
    with pytest.raises(sdk.NotFoundError, match="No batch found with id 'batch_x'"):
        await async_openai.batches.cancel("batch_x")
    with pytest.raises(sdk.NotFoundError, match="Resource not found"):
        await async_openai.files.list(after="file-unknown")
