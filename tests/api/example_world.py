"""Everything that the examples of the description name, and their requests."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from api.openapi import samples
from events.batch import BatchCompleted, BatchFinalizing
from tests.api.client import BOUNDARY, Answer, Client, field, file, form
from tests.api.openapi_document import Asked, Documented
from tests.api.serving import Project, Served
from tests.api.test_how_to import outcome
from tests.api.test_webhook_endpoints import Deliveries

NOBODY: Final = "https://example.com/webhooks"


class World:
    """A project in which there is everything that the examples name; `ids` are what its objects are really
    called."""

    def __init__(self, served: Served, project: Project, receiver: str = NOBODY) -> None:
        client = project.client
        self.client = client
        lines = samples.LINES.encode()
        uploads = [client.uploaded(lines, name="requests.jsonl") for _ in range(3)]
        done, running = (client.created(uploads[0], metadata={"team": "search"}) for _ in range(2))
        served.start(done, lines)
        served.record(done, *(outcome(line, custom_id) for line, custom_id in enumerate("abc")))
        served.happen(done, BatchFinalizing("done"), BatchCompleted(uploads[1], uploads[2]))
        served.seal()
        served.start(running, lines)
        size = len(lines)
        upload, unwanted = (self._upload(size) for _ in range(2))
        hooks = [self._hook(url) for url in (receiver, NOBODY)]
        deliveries = Deliveries(served, hooks[1], project.id)
        self.ids = {
            samples.FILE: uploads[0],
            samples.DELETED_FILE: client.uploaded(lines),
            samples.BATCH: done,
            samples.RUNNING: running,
            samples.UPLOAD: upload,
            samples.CANCELLED_UPLOAD: unwanted,
            samples.PART: client.ask("POST", f"/v1/uploads/{upload}/parts", *part(lines)).json["id"],
            samples.HEARD_HOOK: hooks[0],
            samples.HOOK: hooks[1],
            samples.DELETED_HOOK: self._hook(NOBODY),
            samples.DELIVERY: deliveries.made(),
        }

    def ask(
        self,
        operation: Documented,
        asked: Asked,
        client: Client | None = None,
        *,
        media: str = "*/*",
        key: str | None = None,
    ) -> Answer:
        """Sends the request of an example, with an idempotency key if one is given."""
        method, path, body, headers = self.request(operation, asked)
        more = {"accept": media} | ({} if key is None else {"idempotency-key": key})
        return (client or self.client).ask(method, path, body, headers | more)

    def request(
        self, operation: Documented, asked: Asked, ids: Mapping[str, str] | None = None
    ) -> tuple[str, str, bytes | None, dict[str, str]]:
        """Method, path, body and headers of the request of an example, with what its ids are here unless
        others are given."""
        ids = ids or self.ids
        path = operation.path
        for name, value in asked.path.items():
            path = path.replace(f"{{{name}}}", quote(ids.get(value, value), safe=""))
        if asked.query:
            path += "?" + urlencode({name: ids.get(str(v), v) for name, v in asked.query.items()})
        headers = {"content-type": asked.media} if asked.media else {}
        body: bytes | None = None
        if asked.media == "multipart/form-data":
            body = form(
                *(
                    file(value.encode(), "requests.jsonl", name)
                    if name in ("file", "data")
                    else field(name, value)
                    for name, value in asked.body.items()
                )
            )
            headers["content-type"] += f"; boundary={BOUNDARY}"
        elif asked.media is not None:
            text = asked.body if isinstance(asked.body, str) else json.dumps(asked.body)
            for told, real in ids.items():
                text = text.replace(told, real)
            body = text.encode()
        return operation.method.upper(), path, body, headers

    def as_told(self, body: Any) -> Any:
        """A body of an answer with the ids that the examples have."""
        text = json.dumps(body)
        for told, real in self.ids.items():
            text = text.replace(real, told)
        return json.loads(text)

    def _upload(self, size: int) -> str:
        wanted = {
            "filename": "requests.jsonl",
            "purpose": "batch",
            "bytes": size,
            "mime_type": "application/jsonl",
        }
        id: str = self.client.post_json("/v1/uploads", wanted).json["id"]
        return id

    def _hook(self, url: str) -> str:
        wanted = {"event_types": ["batch.completed", "batch.failed"], "name": "nightly", "url": url}
        id: str = self.client.post_json("/v1/webhook_endpoints", wanted).json["id"]
        return id


def part(content: bytes) -> tuple[bytes, dict[str, str]]:
    return form(file(content, "upload", "data")), {
        "content-type": f"multipart/form-data; boundary={BOUNDARY}"
    }
