"""Drives the official SDK for Python, one of its clients: `python -m tests.clients.openai_python OpenAI`.

All are driven by the same words: what a call gives is awaited where it can be.
"""

import asyncio
import sys
from typing import Any, Final

import httpx2
import openai
from openai import AsyncOpenAI, AzureOpenAI, OpenAI

from tests.clients.driving import (
    ANSWERED,
    CHAT,
    HALF_REFUSED,
    SLOW,
    drive,
    md5,
    now,
    task,
)
from tests.clients.openai_calls import OpenAICalls

KINDS: Final = (OpenAI, AsyncOpenAI, AzureOpenAI)


class OpenAIPython(OpenAICalls):
    """Each public method is an operation."""

    async def files_create(self) -> None:
        expiry = {"anchor": "created_at", "seconds": 3600}
        file = await self._uploaded(name="upload", expires_after=expiry)
        assert (file.object, file.status, file.bytes) == ("file", "processed", len(ANSWERED))
        assert file.expires_at == file.created_at + 3600

    async def files_list(self) -> None:
        files = [(await self._uploaded()).id for _ in range(3)]
        listed = await self._all(self._client.files.list(purpose="batch", order="desc", limit=2))
        assert [file.id for file in listed][:3] == files[::-1]

    async def files_retrieve(self) -> None:
        file = await self._uploaded()
        assert await now(self._client.files.retrieve(file.id)) == file

    async def files_wait(self) -> None:
        file = await self._uploaded()
        assert await now(self._client.files.wait_for_processing(file.id)) == file

    async def files_content(self) -> None:
        file = await self._uploaded()
        assert (await now(self._client.files.content(file.id))).content == ANSWERED
        streamed = self._client.files.with_streaming_response.content(file.id)
        if issubclass(self._kind, OpenAI):
            with streamed as content:
                pieces = list(content.iter_bytes())
        else:
            async with streamed as content:
                pieces = [piece async for piece in content.iter_bytes()]
        assert b"".join(pieces) == ANSWERED

    async def files_delete(self) -> None:
        file = await self._uploaded()
        deleted = await now(self._client.files.delete(file.id))
        assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
        await self._refused(openai.NotFoundError, lambda: self._client.files.retrieve(file.id))

    async def uploads_create(self) -> None:
        upload = await self._upload(10)
        assert (upload.status, upload.bytes, upload.expires_at) == ("pending", 10, upload.created_at + 3600)

    async def uploads_parts(self) -> None:
        await self._in_parts()

    async def uploads_complete(self) -> None:
        content, upload, parts = await self._in_parts()
        completed = await now(
            self._client.uploads.complete(upload.id, part_ids=[part.id for part in parts], md5=md5(content))
        )
        assert (completed.status, completed.file.bytes) == ("completed", len(content))
        assert (await now(self._client.files.content(completed.file.id))).content == content

    async def uploads_cancel(self) -> None:
        upload = await self._upload(10)
        assert (await now(self._client.uploads.cancel(upload.id))).status == "cancelled"

    async def uploads_chunked(self) -> None:
        upload = await now(
            self._client.uploads.upload_file_chunked(
                file=ANSWERED * 9,
                filename="in.jsonl",
                bytes=9 * len(ANSWERED),
                mime_type="application/jsonl",
                purpose="batch",
                part_size=100,
            )
        )
        assert (upload.status, upload.file.bytes) == ("completed", 9 * len(ANSWERED))

    async def batches_create(self) -> None:
        expiry = {"anchor": "created_at", "seconds": 3600}
        batch = await self._batch(metadata={"team": "search"}, output_expires_after=expiry)
        assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"team": "search"})
        ended = await self._ended(batch.id)
        output = await now(self._client.files.retrieve(ended.output_file_id))
        assert output.expires_at == output.created_at + 3600

    async def batches_create_again(self) -> None:
        file = await self._uploaded()
        headers = {"Idempotency-Key": file.id}
        batch = await self._batch(file, extra_headers=headers)
        assert (await self._batch(file, extra_headers=headers)).id == batch.id

    async def batches_retrieve(self) -> None:
        ended = await self._ended((await self._batch(await self._uploaded(HALF_REFUSED))).id)
        counts, usage = ended.request_counts, ended.usage
        assert (ended.status, counts.total, counts.completed, counts.failed) == ("completed", 2, 1, 1)
        assert (ended.model, usage.input_tokens, usage.output_tokens) == ("practice", 7, 5)
        for file_id, custom_id in ((ended.output_file_id, "a"), (ended.error_file_id, "b")):
            text = (await now(self._client.files.content(file_id))).text
            assert f'"custom_id":"{custom_id}"' in text

    async def batches_list(self) -> None:
        made = [(await self._batch()).id for _ in range(3)]
        listed = await self._all(self._client.batches.list(limit=2))
        assert [batch.id for batch in listed][:3] == made[::-1]

    async def batches_cancel(self) -> None:
        batch = await self._batch(await self._uploaded(SLOW))
        assert (await now(self._client.batches.cancel(batch.id))).status in ("cancelling", "cancelled")
        assert (await self._ended(batch.id)).status == "cancelled"

    async def models_list(self) -> None:
        assert [model.id for model in await self._all(self._client.models.list())] == ["practice"]

    async def models_retrieve(self) -> None:
        model = await now(self._client.models.retrieve("practice"))
        assert (model.id, model.object) == ("practice", "model")

    async def webhooks_create(self) -> None:
        endpoint = await self._endpoint()
        assert (endpoint.object, endpoint.url) == ("webhook_endpoint", self._url)
        assert endpoint.signing_secret.startswith("whsec_")

    async def webhooks_list(self) -> None:
        made = [(await self._endpoint()).id for _ in range(3)]
        listed = await self._all(self._client.webhooks.list(limit=2))
        assert [endpoint.id for endpoint in listed][:3] == made[::-1]

    async def webhooks_retrieve(self) -> None:
        endpoint = await self._endpoint()
        found = await now(self._client.webhooks.retrieve(endpoint.id))
        assert (found.id, found.event_types) == (endpoint.id, ["batch.completed"])

    async def webhooks_update(self) -> None:
        endpoint = await self._endpoint()
        changed = await now(self._client.webhooks.update(endpoint.id, name="other"))
        assert (changed.name, changed.url) == ("other", self._url)

    async def webhooks_delete(self) -> None:
        endpoint = await self._endpoint()
        deleted = await now(self._client.webhooks.delete(endpoint.id))
        assert (deleted.object, deleted.deleted) == ("webhook_endpoint.deleted", True)

    async def webhooks_rotate(self) -> None:
        endpoint = await self._endpoint()
        rotated = await now(
            self._client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
        )
        assert rotated.signing_secret not in (None, endpoint.signing_secret)

    async def webhooks_test(self) -> None:
        endpoint = await self._endpoint()
        tested = await now(self._client.webhooks.test(endpoint.id, event_type="batch.completed"))
        assert (tested.event_type, tested.webhook_endpoint_id) == ("batch.completed", endpoint.id)

    async def webhooks_event_types(self) -> None:
        types = await now(self._client.webhooks.event_types.list())
        assert "batch.completed" in types.data

    async def webhooks_unwrap(self) -> None:
        batch, endpoint = await self._announced("/unwrap")
        headers, body = self._task.delivered(f"{self._hook}/unwrap")
        event = self._client.webhooks.unwrap(body, headers, secret=endpoint.signing_secret)
        assert (event.type, event.data.id) == ("batch.completed", batch.id)
        try:
            self._client.webhooks.unwrap(body + " ", headers, secret=endpoint.signing_secret)
        except openai.InvalidWebhookSignatureError:
            return
        raise AssertionError("another body than the signed one was let through")

    async def error_400(self) -> None:
        error = await self._refused(openai.BadRequestError, lambda: self._batch(endpoint="/v1/x"))
        assert (error.param, error.code, error.type) == ("endpoint", "invalid_value", "invalid_request_error")
        assert "Invalid value: '/v1/x'" in str(error)

    async def error_401(self) -> None:
        stranger = self._of("sk-wrong-wrong-wrong")
        error = await self._refused(openai.AuthenticationError, lambda: stranger.batches.retrieve("batch_x"))
        assert error.code == "invalid_api_key"

    async def error_403(self) -> None:
        reader = self._of(self._task.read_key)
        error = await self._refused(
            openai.PermissionDeniedError, lambda: reader.webhooks.delete("whe_unknown")
        )
        assert error.code == "missing_scope"

    async def error_404(self) -> None:
        error = await self._refused(
            openai.NotFoundError, lambda: self._client.batches.retrieve("batch_unknown")
        )
        assert "No batch found with id 'batch_unknown'" in str(error)

    async def error_409(self) -> None:
        ended = await self._ended((await self._batch()).id)
        patient = self._client.with_options(max_retries=2)
        error = await self._refused(openai.ConflictError, lambda: patient.batches.cancel(ended.id))
        assert error.response.request.headers["x-stainless-retry-count"] == "0"

    async def error_429(self) -> None:
        limited = self._of(self._task.limited_key)
        error = await self._refused(
            openai.RateLimitError,
            lambda: limited.batches.create(input_file_id="file-x", endpoint=CHAT, completion_window="24h"),
        )
        assert error.code == "rate_limit_exceeded"
        assert int(error.response.headers["retry-after"]) > 0

    async def extra_events(self) -> None:
        ended = await self._ended((await self._batch()).id)
        page = await self._get(f"/batches/{ended.id}/events?limit=2")
        assert [event["type"] for event in page["data"]] == ["BatchCreated", "BatchStarted"]
        stream = openai.Stream if issubclass(self._kind, OpenAI) else openai.AsyncStream
        events = await now(
            self._client.get(
                f"/batches/{ended.id}/events",
                cast_to=object,
                options={"headers": {"Accept": "text/event-stream", "Last-Event-ID": "2"}},
                stream=True,
                stream_cls=stream[object],
            )
        )
        assert [event["type"] for event in await self._all(events)][-1] == "BatchCompleted"

    async def extra_history(self) -> None:
        ended = await self._ended((await self._batch()).id)
        assert (await self._get(f"/batches/{ended.id}/history"))["data"]

    async def extra_results(self) -> None:
        ended = await self._ended((await self._batch()).id)
        path = f"/batches/{ended.id}/results?offset=0&limit=9"
        results = await now(self._client.get(path, cast_to=httpx2.Response))
        assert '"custom_id":"a"' in results.text
        assert (results.headers["x-incomplete"], results.headers["x-last-line"]) == ("false", "1")

    async def extra_errors(self) -> None:
        ended = await self._ended((await self._batch(await self._uploaded(HALF_REFUSED))).id)
        groups = await self._get(f"/batches/{ended.id}/errors")
        assert [(group["status_code"], group["custom_ids"]) for group in groups["data"]] == [(400, ["b"])]

    async def extra_line(self) -> None:
        ended = await self._ended((await self._batch()).id)
        assert (await self._get(f"/batches/{ended.id}/lines/a"))["status"] == "completed"

    async def extra_retry(self) -> None:
        ended = await self._ended((await self._batch(await self._uploaded(HALF_REFUSED))).id)
        again = await now(self._client.post(f"/batches/{ended.id}/retry", cast_to=openai.types.Batch))
        assert again.batchmill["retry_of"] == ended.id
        assert (await self._ended(again.id)).request_counts.total == 1

    async def extra_validate(self) -> None:
        body = {"input_file_id": (await self._uploaded()).id, "endpoint": CHAT}
        answer = await now(self._client.post("/batchmill/validate", body=body, cast_to=dict[str, object]))
        assert (answer["valid"], answer["lines"]) == (True, 1)

    async def extra_evidence(self) -> None:
        ended = await self._ended((await self._batch()).id)
        evidence = await self._sealed(f"/batches/{ended.id}/evidence")
        assert ended.id.encode() in evidence.content

    async def extra_checkpoint(self) -> None:
        ended = await self._ended((await self._batch()).id)
        await self._sealed(f"/batches/{ended.id}/evidence")
        assert (await self._get("/batchmill/audit/checkpoint"))["size"] > 1

    async def extra_proof(self) -> None:
        ended = await self._ended((await self._batch()).id)
        proofs = await self._sealed(f"/batchmill/audit/proof?batch_id={ended.id}&limit=1")
        assert [proof["type"] for proof in proofs.json()["data"]] == ["BatchCreated"]

    async def extra_consistency(self) -> None:
        ended = await self._ended((await self._batch()).id)
        await self._sealed(f"/batches/{ended.id}/evidence")
        made = await self._get("/batchmill/audit/consistency?from=1")
        assert made["size"] > made["old_size"] == 1

    async def extra_limits(self) -> None:
        assert (await self._get("/batchmill/limits"))["object"] == "batchmill.limits"

    async def extra_enable(self) -> None:
        endpoint = await self._endpoint()
        path = f"/batchmill/webhook_endpoints/{endpoint.id}/enable"
        enabled = await now(self._client.post(path, cast_to=dict[str, Any]))
        assert (enabled["id"], enabled["batchmill"]["disabled_at"]) == (endpoint.id, None)

    async def extra_deliveries(self) -> None:
        batch, endpoint = await self._announced("/deliveries")
        self._task.delivered(f"{self._hook}/deliveries")
        deliveries = await self._get(f"/batchmill/webhook_endpoints/{endpoint.id}/deliveries")
        assert [delivery["batch_id"] for delivery in deliveries["data"]] == [batch.id]

    async def extra_redeliver(self) -> None:
        _, endpoint = await self._announced("/redeliver")
        self._task.delivered(f"{self._hook}/redeliver")
        path = f"/batchmill/webhook_endpoints/{endpoint.id}/deliveries"
        [delivery] = (await self._get(path))["data"]
        again = await now(self._client.post(f"{path}/{delivery['id']}/redeliver", cast_to=dict[str, object]))
        assert again["id"] == delivery["id"]


if __name__ == "__main__":
    asyncio.run(drive(OpenAIPython(task(), {kind.__name__: kind for kind in KINDS}[sys.argv[1]])))
