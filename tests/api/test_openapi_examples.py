"""Every example of the description is true: it is sent to a running API, and the answer is the one that is
told, but for ids and times; and every answer is as it is described."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest

from api.openapi import samples
from api.openapi.served import description
from events.batch import BatchCompleted, BatchFinalizing
from tests.api.client import BOUNDARY, Answer, Client, field, file, form
from tests.api.openapi_document import Asked, Documented, operations
from tests.api.serving import OPTIONS, Project, Served
from tests.api.test_how_to import outcome
from tests.api.test_webhook_endpoints import Deliveries, hearing

DOCUMENT: dict[str, Any] = msgspec.json.decode(description(OPTIONS))
EXAMPLES = [(operation, name) for operation in operations(DOCUMENT) for name in operation.examples()]
OWN_TO_EACH = re.compile(r"(_|^)(id|ids|at|by|secret|hint|actor|worker)$")
"""Names of fields that are other in each world: ids, times, and what is made by chance."""
OF_A_SERVER = ("retrieveLimits", "describeApi")
"""Operations that tell what a server is set to: their examples are one's of many."""


class World:
    """A project in which there is everything that the examples name; `ids` are what its objects are really
    called."""

    def __init__(self, served: Served, project: Project, receiver: str) -> None:
        client = project.client
        self.client = client
        lines = samples.LINES.encode()
        uploads = [client.uploaded(lines, name="requests.jsonl") for _ in range(3)]
        done, running = (client.created(uploads[0], metadata={"team": "search"}) for _ in range(2))
        served.start(done, lines)
        served.record(done, *(outcome(line, custom_id) for line, custom_id in enumerate("abc")))
        served.happen(done, BatchFinalizing("done"), BatchCompleted(uploads[1], uploads[2]))
        served.start(running, lines)
        size = len(lines)
        upload, unwanted = (self._upload(size) for _ in range(2))
        hooks = [self._hook(url) for url in (receiver, "https://example.com/webhooks")]
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
            samples.DELETED_HOOK: self._hook("https://example.com/webhooks"),
            samples.DELIVERY: deliveries.made(),
        }

    def ask(self, operation: Documented, asked: Asked, client: Client, media: str = "*/*") -> Answer:
        """Sends the request of an example."""
        path = operation.path
        for name, value in asked.path.items():
            path = path.replace(f"{{{name}}}", quote(self.ids.get(value, value), safe=""))
        if asked.query:
            path += "?" + urlencode({name: self.ids.get(str(v), v) for name, v in asked.query.items()})
        headers = {"accept": media} | ({"content-type": asked.media} if asked.media else {})
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
            for told, real in self.ids.items():
                text = text.replace(told, real)
            body = text.encode()
        return client.ask(operation.method.upper(), path, body, headers)

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


@pytest.fixture(scope="module")
def world(served: Served) -> Iterator[World]:
    with hearing(204) as (url, _):
        yield World(served, served.project(), url)


@pytest.mark.parametrize(("operation", "name"), EXAMPLES, ids=lambda v: v if isinstance(v, str) else v.id)
def test_an_example_is_answered_as_it_is_told(world: World, operation: Documented, name: str) -> None:
    status, media, told = operation.examples()[name]
    client = world.client if operation.behind_key else Client(world.client.port, None)
    answer = world.ask(operation, operation.asked(name), client, media)
    assert answer.status == status, answer.body
    body = require_described(operation, answer)
    assert operation.id in OF_A_SERVER or not differences(told, world.as_told(body))


@pytest.mark.parametrize(
    "operation", [op for op in operations(DOCUMENT) if op.behind_key], ids=lambda operation: operation.id
)
def test_without_a_known_key_an_operation_is_refused_as_described(
    world: World, operation: Documented
) -> None:
    name = next(iter(operation.examples()))
    for key in (None, "sk-abcdefghijklmnopqrstuvwxyz"):
        answer = world.ask(operation, operation.asked(name), Client(world.client.port, key))
        assert answer.status == 401
        require_described(operation, answer)
    told = operation.response(401)["content"]["application/json"]["examples"]["one"]["value"]
    assert answer.json == told


def require_described(operation: Documented, answer: Answer) -> Any:
    """The body of an answer, which is as it is described."""
    media = answer.headers.get("content-type", "").partition(";")[0]
    body = answer.json if media == "application/json" else answer.body.decode()
    assert not operation.complaints(answer.status, answer.headers, media, body)
    return body


def differences(told: Any, real: Any, place: str = "$") -> list[str]:
    """Where a real answer differs from an example, but for the values of fields that are other each time."""
    match told, real:
        case dict(), dict():
            if told.keys() != real.keys():
                return [f"{place} has the keys {', '.join(real)}"]
            return [
                difference
                for key in told
                for difference in (
                    alike(told[key], real[key], f"{place}.{key}")
                    if OWN_TO_EACH.search(key)
                    else differences(told[key], real[key], f"{place}.{key}")
                )
            ]
        case list(), list():
            if len(told) != len(real):
                return [f"{place} has {len(real)} items"]
            return [
                difference
                for n, (one, other) in enumerate(zip(told, real, strict=True))
                for difference in differences(one, other, f"{place}[{n}]")
            ]
        case str(), str() if "event: " in told:
            heads = re.compile(r"^(?:id|event): .*$", re.MULTILINE)
            return [] if heads.findall(told) == heads.findall(real) else [f"{place} is {real!r}"]
        case _:
            return [] if told == real else [f"{place} is {real!r}, not {told!r}"]


def alike(told: Any, real: Any, place: str) -> list[str]:
    """Whether two values are of one kind."""
    return [] if type(told) is type(real) else [f"{place} is {real!r}, not like {told!r}"]
