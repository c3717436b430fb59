"""Every example of the description is true: it is sent to a running API, and the answer is the one that is
told, but for ids and times; and every answer is as it is described."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from api.openapi.served import description
from tests.api.client import Answer, Client
from tests.api.example_world import World
from tests.api.openapi_document import Documented, operations
from tests.api.serving import OPTIONS, Served
from tests.api.test_webhook_endpoints import hearing

DOCUMENT: dict[str, Any] = msgspec.json.decode(description(OPTIONS))
EXAMPLES = [(operation, name) for operation in operations(DOCUMENT) for name in operation.examples()]
OWN_TO_EACH = re.compile(r"(_|^)(id|ids|at|by|secret|hint|actor|actors|worker|seconds|text)$")
"""Names of fields that are other in each world: ids, times, what is made by chance, what tells of these."""
OF_A_SERVER = (
    "retrieveLimits",
    "describeApi",
    "exportEvidence",
    "newestCheckpoint",
    "proveEvents",
    "proveConsistency",
)
"""Operations that tell what a server is set to, or what its log holds: their examples are one's of many."""


@pytest.fixture(scope="module")
def world(served: Served) -> Iterator[World]:
    with hearing(204) as (url, _):
        yield World(served, served.project(), url)


@pytest.mark.parametrize(("operation", "name"), EXAMPLES, ids=lambda v: v if isinstance(v, str) else v.id)
def test_an_example_is_answered_as_it_is_told(world: World, operation: Documented, name: str) -> None:
    status, media, told = operation.examples()[name]
    client = world.client if operation.behind_key else Client(world.client.port, None)
    answer = world.ask(operation, operation.asked(name), client, media=media)
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
    body = answer.json if media == "application/json" else answer.body.decode(errors="replace")
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
