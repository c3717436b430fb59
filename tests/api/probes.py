"""Guessing at ids: for each operation of the description, and each place of it that takes the id of an
object, a request in which any id can stand there.

The places are found in the examples: a path parameter, a key of a body, or a query's cursor that holds the id
of something in the world of the examples. The rest of a request is the guesser's own.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.openapi import samples
from tests.api.client import Answer
from tests.api.example_world import World
from tests.api.openapi_document import Asked, Documented

CURSOR: Final = "after"
ONE_OF_EACH: Final = (
    samples.FILE,
    samples.BATCH,
    samples.UPLOAD,
    samples.PART,
    samples.HOOK,
    samples.DELIVERY,
)
"""One of each kind of object that a project has."""
IDS: Final = frozenset(
    (
        *ONE_OF_EACH,
        samples.DELETED_FILE,
        samples.RUNNING,
        samples.CANCELLED_UPLOAD,
        samples.HEARD_HOOK,
        samples.DELETED_HOOK,
    )
)
"""Every id of the examples that names something."""


@dataclass(frozen=True)
class Probe:
    """A request with a place for an id, which `told` stands for in it."""

    operation: Documented
    asked: Asked
    place: str
    told: str

    def __str__(self) -> str:
        return f"{self.operation.id} {self.place}"

    def request(self, guesser: World, id: str) -> tuple[str, str, bytes | None, dict[str, str]]:
        """Method, path, body and headers of the guesser's request with an id."""
        return guesser.request(self.operation, self.asked, {**guesser.ids, self.told: id})


def probes(operation: Documented) -> Iterator[Probe]:
    """Every place of an operation that takes an id."""
    name = next(iter(operation.examples()))
    asked = operation.asked(name)
    for parameter, value in asked.path.items():
        if value in IDS:
            yield Probe(operation, asked, f"path {parameter}", value)
    for field, value in asked.body.items() if isinstance(asked.body, dict) else ():
        for told in value if isinstance(value, list) else [value]:
            if isinstance(told, str) and told in IDS:
                yield Probe(operation, asked, f"body {field}", told)
    for parameter, asked_for in asked.query.items():
        if asked_for in IDS and parameter != CURSOR:
            yield Probe(operation, asked, f"query {parameter}", str(asked_for))
    for parameter in operation.told["parameters"]:
        if parameter.get("name") == CURSOR and parameter["schema"]["type"] == "string":
            for told in ONE_OF_EACH:
                query = {**asked.query, CURSOR: told}
                yield Probe(
                    operation, asked._replace(query=query), f"{CURSOR} {re.split('[-_]', told)[0]}", told
                )


def unknown_like(id: str) -> str:
    """An id of the same kind and length that nothing has."""
    if id.startswith("file-"):
        return "file-" + "".join(secrets.choice("23456789ABCDEFGHJKLMNPQRST") for _ in id[5:])
    kind, _, tail = id.rpartition("_")
    return f"{kind}_{secrets.token_hex(len(tail) // 2)}"


def told_in(answer: Answer, asked_for: str) -> tuple[int, Mapping[str, str], Any]:
    """All of an answer but the id that was asked for, what is of each request, and what a request made."""
    headers = {
        n: v for n, v in answer.headers.items() if n not in ("x-request-id", "openai-processing-ms", "date")
    }
    text = answer.body.decode().replace(asked_for, "ID")
    text = re.sub(r"(batch|upload|we)_[0-9a-f]{32}|\b[12]\d{9}\b", "MADE", text)
    return answer.status, headers, text
