"""Drives LiteLLM as a client of batches and files: `python -m tests.clients.litellm_python sync` or `async`.

Each of its functions but that for models has an asynchronous twin with an `a` before its name.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import litellm
import openai

from tests.clients.driving import (
    ANSWERED,
    CHAT,
    ENDED,
    HALF_REFUSED,
    PATIENCE,
    SLOW,
    Task,
    drive,
    now,
    task,
)


class LiteLLM:
    """Each public method is an operation."""

    def __init__(self, task: Task, prefix: str) -> None:
        self._task = task
        self._prefix = prefix

    async def files_create(self) -> None:
        file = await self._uploaded(name="upload", expires_after={"anchor": "created_at", "seconds": 3600})
        assert (file.object, file.status, file.bytes) == ("file", "processed", len(ANSWERED))
        assert file.expires_at == file.created_at + 3600

    async def files_list(self) -> None:
        files = {(await self._uploaded()).id for _ in range(3)}
        listed = await self._call("file_list", purpose="batch")
        assert files <= {file.id for file in listed.data}

    async def files_retrieve(self) -> None:
        file = await self._uploaded()
        assert (await self._call("file_retrieve", file_id=file.id)).id == file.id

    async def files_content(self) -> None:
        file = await self._uploaded()
        assert (await self._call("file_content", file_id=file.id)).content == ANSWERED
        streamed = await self._call("file_content", file_id=file.id, stream=True)
        pieces = streamed.stream_iterator
        got = [piece async for piece in pieces] if self._prefix else list(pieces)
        assert b"".join(got) == ANSWERED

    async def files_delete(self) -> None:
        file = await self._uploaded()
        deleted = await self._call("file_delete", file_id=file.id)
        assert (deleted.id, deleted.deleted) == (file.id, True)

    async def batches_create(self) -> None:
        expiry = {"anchor": "created_at", "seconds": 3600}
        batch = await self._batch(metadata={"team": "search"}, output_expires_after=expiry)
        assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"team": "search"})
        ended = await self._ended(batch.id)
        output = await self._call("file_retrieve", file_id=ended.output_file_id)
        assert output.expires_at == output.created_at + 3600

    async def batches_create_again(self) -> None:
        file = await self._uploaded()
        headers = {"Idempotency-Key": file.id}
        batch = await self._batch(file, extra_headers=headers)
        assert (await self._batch(file, extra_headers=headers)).id == batch.id

    async def batches_retrieve(self) -> None:
        ended = await self._ended((await self._batch(await self._uploaded(HALF_REFUSED))).id)
        counts = ended.request_counts
        assert (ended.status, counts.total, counts.completed, counts.failed) == ("completed", 2, 1, 1)
        for file_id, custom_id in ((ended.output_file_id, "a"), (ended.error_file_id, "b")):
            text = (await self._call("file_content", file_id=file_id)).text
            assert f'"custom_id":"{custom_id}"' in text

    async def batches_list(self) -> None:
        made = [(await self._batch()).id for _ in range(3)]
        first = await self._call("list_batches", limit=2)
        second = await self._call("list_batches", limit=2, after=first.data[-1].id)
        assert [batch.id for batch in (*first.data, *second.data)][:3] == made[::-1]

    async def batches_cancel(self) -> None:
        batch = await self._batch(await self._uploaded(SLOW))
        cancelled = await self._call("cancel_batch", batch_id=batch.id)
        assert cancelled.status in ("cancelling", "cancelled")
        assert (await self._ended(batch.id)).status == "cancelled"

    async def models_list(self) -> None:
        models = litellm.get_valid_models(
            check_provider_endpoint=True,
            custom_llm_provider="openai",
            api_base=self._task.url,
            api_key=self._task.key,
        )
        assert models == ["practice"]

    async def error_400(self) -> None:
        error = await self._refused(openai.BadRequestError, lambda: self._batch(endpoint="/v1/x"))
        assert (error.param, error.code) == ("endpoint", "invalid_value")
        assert "Invalid value: '/v1/x'" in str(error)

    async def error_401(self) -> None:
        await self._refused(
            openai.AuthenticationError,
            lambda: self._call("retrieve_batch", batch_id="batch_x", api_key="sk-wrong-wrong-wrong"),
        )

    async def error_403(self) -> None:
        await self._refused(
            openai.PermissionDeniedError,
            lambda: self._call("file_delete", file_id="file-unknown", api_key=self._task.read_key),
        )

    async def error_404(self) -> None:
        error = await self._refused(
            openai.NotFoundError, lambda: self._call("retrieve_batch", batch_id="batch_unknown")
        )
        assert "No batch found with id 'batch_unknown'" in str(error)

    async def error_409(self) -> None:
        ended = await self._ended((await self._batch()).id)
        error = await self._refused(
            openai.ConflictError, lambda: self._call("cancel_batch", batch_id=ended.id, max_retries=2)
        )
        assert error.response.request.headers["x-stainless-retry-count"] == "0"

    async def error_429(self) -> None:
        error = await self._refused(
            openai.RateLimitError,
            lambda: self._call(
                "create_batch",
                input_file_id="file-x",
                endpoint=CHAT,
                completion_window="24h",
                api_key=self._task.limited_key,
            ),
        )
        assert int(error.response.headers["retry-after"]) > 0

    async def _call(self, name: str, **given: Any) -> Any:
        own = {"api_base": self._task.url, "api_key": self._task.key, "max_retries": 0, "timeout": PATIENCE}
        function = getattr(litellm, self._prefix + name)
        return await now(function(custom_llm_provider="openai", **(own | given)))

    async def _uploaded(self, content: bytes = ANSWERED, name: str = "in.jsonl", **more: Any) -> Any:
        return await self._call("create_file", file=(name, content), purpose="batch", **more)

    async def _batch(self, file: Any = None, endpoint: str = CHAT, **more: Any) -> Any:
        file = file or await self._uploaded()
        return await self._call(
            "create_batch", input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more
        )

    async def _ended(self, batch_id: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while (batch := await self._call("retrieve_batch", batch_id=batch_id)).status not in ENDED:
            assert time.monotonic() < deadline, batch
            await asyncio.sleep(0.05)
        return batch

    async def _refused(self, kind: type[Exception], ask: Callable[[], Any]) -> Any:
        """The error of that kind with which the client answers."""
        try:
            await now(ask())
        except kind as error:
            return error
        raise AssertionError(f"no {kind.__name__}")


if __name__ == "__main__":
    asyncio.run(drive(LiteLLM(task(), {"sync": "", "async": "a"}[sys.argv[1]])))
