"""The description tells of every route, of nothing else, and each reference in it leads somewhere."""

import re
from collections.abc import Iterator
from typing import Any, cast

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
from litestar.routes import HTTPRoute

from api.app import create_app
from api.openapi.parts import PATHS
from api.openapi.refusals import CODES
from api.openapi.served import description
from api.services import ApiOptions, ApiServices
from tests.api.client import Client
from tests.api.openapi_document import Documented, operations
from tests.api.serving import OPTIONS, Served

DOCUMENT: dict[str, Any] = msgspec.json.decode(description(ApiOptions()))


def routes() -> set[tuple[str, str]]:
    """Every method and path that the application has a route for, but for HEAD, which comes with GET."""
    found = set()
    for route in create_app(cast(ApiServices, None)).routes:
        if isinstance(route, HTTPRoute):
            methods = set().union(*(handler.http_methods for handler in route.route_handlers))
            assert ("GET" in methods) == ("HEAD" in methods), route.path
            path = re.sub(r":\w+\}", "}", route.path_format)
            found |= {(method.lower(), path) for method in methods - {"HEAD", "OPTIONS"}}
    return found


def nodes(node: object) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from nodes(child)


def test_every_route_is_described_and_nothing_else() -> None:
    described = {(operation.method, operation.path) for operation in operations(DOCUMENT)}
    assert described == routes()


def test_every_reference_and_every_link_leads_somewhere() -> None:
    ids = [operation.id for operation in operations(DOCUMENT)]
    assert len(ids) == len(set(ids))
    for node in nodes(DOCUMENT):
        if isinstance(node.get("$ref"), str):
            target: Any = DOCUMENT
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
        if "operationId" in node:
            assert node["operationId"] in ids


def test_every_schema_is_one() -> None:
    schemas = [node["schema"] for node in nodes(DOCUMENT) if isinstance(node.get("schema"), dict)]
    schemas += DOCUMENT["components"]["schemas"].values()
    for schema in {msgspec.json.encode(schema): schema for schema in schemas}.values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("operation", operations(DOCUMENT), ids=lambda operation: operation.id)
def test_an_operation_is_told_completely(operation: Documented) -> None:
    told = operation.told
    assert told["summary"]
    assert told["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    assert {"400", "431", "500", "503"} <= set(told["responses"])
    if operation.behind_key:
        assert [set(way) for way in told["security"]] == [{"bearer"}, {"apiKey"}]
        assert {scope for way in told["security"] for [scope] in way.values()} <= {"read", "write", "admin"}
        assert {"401", "403", "429"} <= set(told["responses"])
    if "requestBody" in told:
        assert {"408", "413"} <= set(told["responses"])
    if any(PATHS[name].unknown for name in operation.path_parameters):
        assert "404" in told["responses"]
    assert operation.examples(), "no example"


def test_an_unknown_field_of_a_json_body_is_said_to_be_refused() -> None:
    for operation in operations(DOCUMENT):
        content = operation.told.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            assert content["application/json"]["schema"]["additionalProperties"] is False
            codes = operation.codes(400)
            assert "unknown_parameter" in codes, operation.id


def test_every_code_is_that_of_some_operation() -> None:
    statuses = {status for op in operations(DOCUMENT) for status in op.told["responses"]}
    used = {code for op in operations(DOCUMENT) for s in statuses for code in op.codes(int(s))}
    assert used - {None} == set(CODES)


def test_the_server_describes_itself_without_a_key(served: Served) -> None:
    answer = Client(served.port, None).get("/openapi.json")
    assert answer.status == 200
    assert answer.json == msgspec.json.decode(description(OPTIONS))
    window = answer.json["paths"]["/v1/batches"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert "`2d-7d`" in window["properties"]["completion_window"]["description"]
    assert Client(served.port, None).ask("HEAD", "/openapi.json").status == 200
