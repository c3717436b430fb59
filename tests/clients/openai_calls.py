"""Calls of the official SDK for Python that its driver makes again and again, and what it waits for."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI, AzureOpenAI, OpenAI

from tests.clients.driving import ANSWERED, CHAT, ENDED, PATIENCE, Task, now


class OpenAICalls:
    """With one of its clients, synchronous or not."""

    def __init__(self, task: Task, kind: type[OpenAI] | type[AsyncOpenAI]) -> None:
        self._task = task
        self._kind = kind
        self._client: Any = self._of(task.key)
        self._hook = f"/{kind.__name__}"
        self._url = task.receiver + self._hook

    def _of(self, key: str) -> Any:
        """A client that asks once, so that every refusal is seen."""
        once = {"api_key": key, "max_retries": 0, "timeout": PATIENCE}
        where = {"base_url": self._task.url}
        if self._kind is AzureOpenAI:
            where = {"azure_endpoint": self._task.url.removesuffix("/v1"), "api_version": "2026-03-01"}
        kind: Callable[..., Any] = self._kind
        return kind(**once, **where)

    async def _uploaded(self, content: bytes = ANSWERED, name: str = "in.jsonl", **more: Any) -> Any:
        return await now(self._client.files.create(file=(name, content), purpose="batch", **more))

    async def _upload(self, size: int) -> Any:
        return await now(
            self._client.uploads.create(
                bytes=size, filename="in.jsonl", mime_type="application/jsonl", purpose="batch"
            )
        )

    async def _in_parts(self) -> tuple[bytes, Any, list[Any]]:
        """What was sent, its upload, and its parts, which went up side by side."""
        pieces = [ANSWERED * n for n in range(1, 5)]
        content = b"".join(pieces)
        upload = await self._upload(len(content))

        def send(piece: bytes) -> Awaitable[Any]:
            if issubclass(self._kind, OpenAI):
                return asyncio.to_thread(self._client.uploads.parts.create, upload.id, data=piece)
            sent: Awaitable[Any] = self._client.uploads.parts.create(upload.id, data=piece)
            return sent

        parts = await asyncio.gather(*map(send, pieces))
        assert {(part.object, part.upload_id) for part in parts} == {("upload.part", upload.id)}
        return content, upload, parts

    async def _batch(self, file: Any = None, endpoint: str = CHAT, **more: Any) -> Any:
        file = file or await self._uploaded()
        return await now(
            self._client.batches.create(
                input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more
            )
        )

    async def _ended(self, batch_id: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while (batch := await now(self._client.batches.retrieve(batch_id))).status not in ENDED:
            assert time.monotonic() < deadline, batch
            await asyncio.sleep(0.05)
        return batch

    async def _sealed(self, path: str) -> Any:
        """What is answered once that is sealed which is asked for."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await now(self._client.get(path, cast_to=httpx2.Response))
            except openai.ConflictError:
                assert time.monotonic() < deadline, path
            await asyncio.sleep(0.1)

    async def _endpoint(self, path: str = "") -> Any:
        return await now(
            self._client.webhooks.create(name="client", url=self._url + path, event_types=["batch.completed"])
        )

    async def _announced(self, path: str) -> tuple[Any, Any]:
        """A batch that has ended, and an endpoint that is told of it at a path of its own."""
        endpoint = await self._endpoint(path)
        return await self._ended((await self._batch()).id), endpoint

    async def _get(self, path: str) -> Any:
        return await now(self._client.get(path, cast_to=dict[str, object]))

    async def _all(self, pages: Any) -> list[Any]:
        """Everything in a list, from page to page, or in a stream."""
        return [one async for one in pages] if hasattr(pages, "__aiter__") else list(pages)

    async def _refused(self, kind: type[Exception], ask: Callable[[], Any]) -> Any:
        """The error of that kind with which the client answers."""
        try:
            await now(ask())
        except kind as error:
            return error
        raise AssertionError(f"no {kind.__name__}")
