"""Drives the API with curl alone: `python -m tests.clients.curl`."""

import asyncio
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.clients.driving import (
    ANSWERED,
    CHAT,
    ENDED,
    HALF_REFUSED,
    PATIENCE,
    SLOW,
    Task,
    drive,
    md5,
    task,
)

_CURL: Final = ("curl", "--silent", "--show-error", "--max-time", f"{PATIENCE:g}", "--dump-header", "-")


@dataclass(frozen=True)
class Answer:
    """`headers` by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body of a success."""
        assert self.status == 200, f"{self.status} {self.body.decode()}"
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """What is in the envelope of an error."""
        return json.loads(self.body)["error"]


class Curl:
    """Each public method is an operation."""

    def __init__(self, task: Task, folder: Path) -> None:
        self._task = task
        self._folder = folder
        self._hook = f"{task.receiver}/curl"

    async def files_create(self) -> None:
        expiry = ("expires_after[anchor]=created_at", "expires_after[seconds]=3600")
        file = await self._uploaded(name="upload", more=expiry)
        assert (file["object"], file["status"], file["bytes"]) == ("file", "processed", len(ANSWERED))
        assert file["expires_at"] == file["created_at"] + 3600

    async def files_list(self) -> None:
        made = [(await self._uploaded())["id"] for _ in range(3)]
        first = (await self._curl("/files?purpose=batch&order=desc&limit=2")).json
        assert first["has_more"]
        path = f"/files?purpose=batch&order=desc&limit=2&after={first['last_id']}"
        second = (await self._curl(path)).json
        assert [file["id"] for file in (*first["data"], *second["data"])][:3] == made[::-1]

    async def files_retrieve(self) -> None:
        file = await self._uploaded()
        assert (await self._curl(f"/files/{file['id']}")).json == file

    async def files_content(self) -> None:
        path = f"/files/{(await self._uploaded())['id']}/content"
        assert (await self._curl(path)).body == ANSWERED
        part = await self._curl(path, "--range", "2-9")
        assert (part.status, part.body) == (206, ANSWERED[2:10])

    async def files_delete(self) -> None:
        path = f"/files/{(await self._uploaded())['id']}"
        assert (await self._curl(path, "--request", "DELETE")).json["deleted"]
        assert (await self._curl(path)).status == 404

    async def uploads_create(self) -> None:
        upload = await self._upload(10)
        assert (upload["status"], upload["expires_at"]) == ("pending", upload["created_at"] + 3600)

    async def uploads_parts(self) -> None:
        await self._in_parts()

    async def uploads_complete(self) -> None:
        content, upload, parts = await self._in_parts()
        body = {"part_ids": [part["id"] for part in parts], "md5": md5(content)}
        completed = (await self._post(f"/uploads/{upload['id']}/complete", body)).json
        assert (completed["status"], completed["file"]["bytes"]) == ("completed", len(content))

    async def uploads_cancel(self) -> None:
        path = f"/uploads/{(await self._upload(10))['id']}/cancel"
        assert (await self._curl(path, "--request", "POST")).json["status"] == "cancelled"

    async def batches_create(self) -> None:
        expiry = {"anchor": "created_at", "seconds": 3600}
        batch = await self._batch(metadata={"team": "search"}, output_expires_after=expiry)
        assert (batch["object"], batch["metadata"]) == ("batch", {"team": "search"})
        output = (await self._curl(f"/files/{(await self._ended(batch))['output_file_id']}")).json
        assert output["expires_at"] == output["created_at"] + 3600

    async def batches_create_again(self) -> None:
        file = await self._uploaded()
        body = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
        key = ("--header", f"Idempotency-Key: {file['id']}")
        made = [(await self._post("/batches", body, *key)).json["id"] for _ in range(2)]
        assert made[0] == made[1]

    async def batches_retrieve(self) -> None:
        ended = await self._ended(await self._batch(HALF_REFUSED))
        assert ended["status"] == "completed"
        assert ended["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
        for file_id, custom_id in ((ended["output_file_id"], "a"), (ended["error_file_id"], "b")):
            assert (await self._curl(f"/files/{file_id}/content")).json["custom_id"] == custom_id

    async def batches_list(self) -> None:
        made = [(await self._batch())["id"] for _ in range(3)]
        first = (await self._curl("/batches?limit=2")).json
        second = (await self._curl(f"/batches?limit=2&after={first['last_id']}")).json
        assert [batch["id"] for batch in (*first["data"], *second["data"])][:3] == made[::-1]

    async def batches_cancel(self) -> None:
        batch = await self._batch(SLOW)
        cancelled = await self._curl(f"/batches/{batch['id']}/cancel", "--request", "POST")
        assert cancelled.json["status"] in ("cancelling", "cancelled")
        assert (await self._ended(batch))["status"] == "cancelled"

    async def models_list(self) -> None:
        assert [model["id"] for model in (await self._curl("/models")).json["data"]] == ["practice"]

    async def models_retrieve(self) -> None:
        assert (await self._curl("/models/practice")).json["object"] == "model"

    async def webhooks_create(self) -> None:
        endpoint = await self._endpoint()
        assert (endpoint["object"], endpoint["url"]) == ("webhook_endpoint", self._hook)

    async def webhooks_list(self) -> None:
        made = [(await self._endpoint())["id"] for _ in range(3)]
        first = (await self._curl("/webhook_endpoints?limit=2")).json
        second = (await self._curl(f"/webhook_endpoints?limit=2&after={first['last_id']}")).json
        assert [endpoint["id"] for endpoint in (*first["data"], *second["data"])][:3] == made[::-1]

    async def webhooks_retrieve(self) -> None:
        found = await self._curl(f"/webhook_endpoints/{(await self._endpoint())['id']}")
        assert found.json["event_types"] == ["batch.completed"]

    async def webhooks_update(self) -> None:
        changed = await self._post(f"/webhook_endpoints/{(await self._endpoint())['id']}", {"name": "other"})
        assert (changed.json["name"], changed.json["url"]) == ("other", self._hook)

    async def webhooks_delete(self) -> None:
        path = f"/webhook_endpoints/{(await self._endpoint())['id']}"
        assert (await self._curl(path, "--request", "DELETE")).json["deleted"]

    async def webhooks_rotate(self) -> None:
        endpoint = await self._endpoint()
        path = f"/webhook_endpoints/{endpoint['id']}/rotate_secret"
        rotated = await self._post(path, {"keep_old_secret_active_for_24_hours": True})
        assert rotated.json["signing_secret"] != endpoint["signing_secret"]

    async def webhooks_test(self) -> None:
        path = f"/webhook_endpoints/{(await self._endpoint())['id']}/test"
        assert (await self._post(path, {"event_type": "batch.completed"})).json["status_code"] == 204

    async def webhooks_event_types(self) -> None:
        assert "batch.completed" in (await self._curl("/webhook_event_types")).json["data"]

    async def error_400(self) -> None:
        body = {"input_file_id": "file-x", "endpoint": "/v1/x", "completion_window": "24h"}
        refused = await self._post("/batches", body)
        assert (refused.status, refused.error["param"], refused.error["code"]) == (
            400,
            "endpoint",
            "invalid_value",
        )

    async def error_401(self) -> None:
        refused = await self._curl("/batches", key="sk-wrong-wrong-wrong")
        assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")

    async def error_403(self) -> None:
        refused = await self._curl("/files/file-unknown", "--request", "DELETE", key=self._task.read_key)
        assert (refused.status, refused.error["code"]) == (403, "missing_scope")

    async def error_404(self) -> None:
        refused = await self._curl("/batches/batch_unknown")
        assert refused.status == 404
        assert refused.error["message"] == "No batch found with id 'batch_unknown'."

    async def error_409(self) -> None:
        ended = await self._ended(await self._batch())
        refused = await self._curl(f"/batches/{ended['id']}/cancel", "--request", "POST")
        assert (refused.status, refused.headers["x-should-retry"]) == (409, "false")

    async def error_429(self) -> None:
        body = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}
        refused = await self._post("/batches", body, key=self._task.limited_key)
        assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) > 0

    async def extra_events(self) -> None:
        ended = await self._ended(await self._batch())
        page = (await self._curl(f"/batches/{ended['id']}/events?limit=2")).json
        assert [event["type"] for event in page["data"]] == ["BatchCreated", "BatchStarted"]
        stream = ("--no-buffer", "--header", "Accept: text/event-stream", "--header", "Last-Event-ID: 2")
        heard = await self._curl(f"/batches/{ended['id']}/events", *stream)
        assert heard.body.rstrip().splitlines()[-2] == b"event: BatchCompleted"

    async def extra_history(self) -> None:
        ended = await self._ended(await self._batch())
        assert (await self._curl(f"/batches/{ended['id']}/history")).json["data"]

    async def extra_results(self) -> None:
        ended = await self._ended(await self._batch())
        results = await self._curl(f"/batches/{ended['id']}/results?offset=0&limit=9")
        assert results.json["custom_id"] == "a"
        assert (results.headers["x-incomplete"], results.headers["x-last-line"]) == ("false", "1")

    async def extra_errors(self) -> None:
        ended = await self._ended(await self._batch(HALF_REFUSED))
        [group] = (await self._curl(f"/batches/{ended['id']}/errors")).json["data"]
        assert (group["status_code"], group["custom_ids"]) == (400, ["b"])

    async def extra_line(self) -> None:
        ended = await self._ended(await self._batch())
        assert (await self._curl(f"/batches/{ended['id']}/lines/a")).json["status"] == "completed"

    async def extra_retry(self) -> None:
        ended = await self._ended(await self._batch(HALF_REFUSED))
        again = (await self._curl(f"/batches/{ended['id']}/retry", "--request", "POST")).json
        assert again["batchmill"]["retry_of"] == ended["id"]
        assert (await self._ended(again))["request_counts"]["total"] == 1

    async def extra_validate(self) -> None:
        body = {"input_file_id": (await self._uploaded())["id"], "endpoint": CHAT}
        assert (await self._post("/batchmill/validate", body)).json["valid"]

    async def extra_evidence(self) -> None:
        ended = await self._ended(await self._batch())
        evidence = await self._sealed(f"/batches/{ended['id']}/evidence")
        assert evidence.body.startswith(b"bundle ")
        assert ended["id"].encode() in evidence.body

    async def extra_checkpoint(self) -> None:
        await self._sealed(f"/batches/{(await self._ended(await self._batch()))['id']}/evidence")
        assert (await self._curl("/batchmill/audit/checkpoint")).json["size"] > 1

    async def extra_proof(self) -> None:
        ended = await self._ended(await self._batch())
        [proof] = (await self._sealed(f"/batchmill/audit/proof?batch_id={ended['id']}&limit=1")).json["data"]
        assert (proof["stream_id"], proof["type"]) == (ended["id"], "BatchCreated")

    async def extra_consistency(self) -> None:
        await self._sealed(f"/batches/{(await self._ended(await self._batch()))['id']}/evidence")
        made = (await self._curl("/batchmill/audit/consistency?from=1")).json
        assert made["size"] > made["old_size"] == 1

    async def extra_limits(self) -> None:
        assert (await self._curl("/batchmill/limits")).json["object"] == "batchmill.limits"

    async def extra_enable(self) -> None:
        path = f"/batchmill/webhook_endpoints/{(await self._endpoint())['id']}/enable"
        assert (await self._curl(path, "--request", "POST")).json["batchmill"]["disabled_at"] is None

    async def extra_deliveries(self) -> None:
        batch, endpoint = await self._announced("/deliveries")
        path = f"/batchmill/webhook_endpoints/{endpoint['id']}/deliveries"
        assert [one["batch_id"] for one in (await self._curl(path)).json["data"]] == [batch["id"]]

    async def extra_redeliver(self) -> None:
        _, endpoint = await self._announced("/redeliver")
        path = f"/batchmill/webhook_endpoints/{endpoint['id']}/deliveries"
        [delivery] = (await self._curl(path)).json["data"]
        again = await self._curl(f"{path}/{delivery['id']}/redeliver", "--request", "POST")
        assert again.json["id"] == delivery["id"]

    async def _curl(self, path: str, *arguments: str, key: str | None = None) -> Answer:
        """What curl is answered. The key is in no process list: it goes in by a file."""
        secret = self._kept(f"Authorization: Bearer {key or self._task.key}".encode())
        process = await asyncio.create_subprocess_exec(
            *_CURL,
            "--globoff",
            "--header",
            f"@{secret}",
            *arguments,
            self._task.url + path,
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, f"curl ended with {process.returncode}"
        return _answer(said)

    async def _post(self, path: str, body: object, *arguments: str, key: str | None = None) -> Answer:
        sent = ("--header", "Content-Type: application/json", "--data", json.dumps(body))
        return await self._curl(path, *sent, *arguments, key=key)

    async def _uploaded(
        self, content: bytes = ANSWERED, name: str = "in.jsonl", more: tuple[str, ...] = ()
    ) -> Any:
        fields = ("purpose=batch", f"file=@{self._kept(content)};filename={name}", *more)
        forms = [argument for field in fields for argument in ("--form", field)]
        return (await self._curl("/files", *forms)).json

    async def _upload(self, size: int) -> Any:
        body = {"bytes": size, "filename": "x", "mime_type": "application/jsonl", "purpose": "batch"}
        return (await self._post("/uploads", body)).json

    async def _in_parts(self) -> tuple[bytes, Any, list[Any]]:
        """What was sent, its upload, and its parts, which went up side by side."""
        pieces = [ANSWERED * n for n in range(1, 5)]
        content = b"".join(pieces)
        upload = await self._upload(len(content))
        path = f"/uploads/{upload['id']}/parts"
        answers = await asyncio.gather(
            *(self._curl(path, "--form", f"data=@{self._kept(piece)}") for piece in pieces)
        )
        parts = [one.json for one in answers]
        assert {(part["object"], part["upload_id"]) for part in parts} == {("upload.part", upload["id"])}
        return content, upload, parts

    async def _batch(self, content: bytes = ANSWERED, **more: object) -> Any:
        file = await self._uploaded(content)
        body = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h", **more}
        return (await self._post("/batches", body)).json

    async def _ended(self, batch: Any) -> Any:
        deadline = time.monotonic() + PATIENCE
        while (seen := (await self._curl(f"/batches/{batch['id']}")).json)["status"] not in ENDED:
            assert time.monotonic() < deadline, seen
            await asyncio.sleep(0.05)
        return seen

    async def _sealed(self, path: str) -> Answer:
        """What is answered once that is sealed which is asked for."""
        deadline = time.monotonic() + PATIENCE
        while (answer := await self._curl(path)).status == 409:
            assert time.monotonic() < deadline, answer
            await asyncio.sleep(0.1)
        assert answer.status == 200, answer
        return answer

    async def _endpoint(self, path: str = "") -> Any:
        body = {"name": "client", "url": self._hook + path, "event_types": ["batch.completed"]}
        return (await self._post("/webhook_endpoints", body)).json

    async def _announced(self, path: str) -> tuple[Any, Any]:
        """A batch that has ended, and an endpoint that was told of it at a path of its own."""
        endpoint = await self._endpoint(path)
        ended = await self._ended(await self._batch())
        self._task.delivered(f"/curl{path}")
        return ended, endpoint

    def _kept(self, content: bytes) -> Path:
        """A file of that content."""
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(content)
        return Path(file.name)


def _answer(said: bytes) -> Answer:
    """The last answer in what curl prints, which may begin with a `100 Continue`."""
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(first.split()[1])
    if status == 100:
        return _answer(body)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(status, headers, body)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="batchmill-curl-") as kept:
        asyncio.run(drive(Curl(task(), Path(kept))))
