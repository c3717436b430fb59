"""The description as who reads it sees it: its operations, their examples, and what an answer should be."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jsonschema  # type: ignore[import-untyped]  # it ships no types


class Asked(NamedTuple):
    """The request of an example: parameters by place, and a body with its media type."""

    path: Mapping[str, str]
    query: Mapping[str, str | int]
    media: str | None
    body: Any


class Documented(NamedTuple):
    """One operation of a description."""

    document: dict[str, Any]
    method: str
    path: str
    told: dict[str, Any]

    @property
    def id(self) -> str:
        name: str = self.told["operationId"]
        return name

    @property
    def behind_key(self) -> bool:
        return bool(self.told["security"])

    @property
    def path_parameters(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    def response(self, status: int) -> dict[str, Any]:
        """The answer of a status."""
        return self._followed(self.told["responses"][str(status)])

    def codes(self, status: int) -> set[str | None]:
        """The codes that an error of a status may have."""
        if str(status) not in self.told["responses"] or status < 400:
            return set()
        schema = self.response(status)["content"]["application/json"]["schema"]
        return set(schema["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"])

    def examples(self) -> dict[str, tuple[int, str, Any]]:
        """Status, media type and body of what is answered in each example, by its name."""
        found = {}
        for status in self.told["responses"]:
            for media, content in self.response(int(status)).get("content", {}).items():
                for name, example in content.get("examples", {}).items():
                    if "$ref" not in self.told["responses"][status]:
                        found[name] = (int(status), media, example["value"])
        return found

    def asked(self, name: str) -> Asked:
        """The request of an example."""
        path, query = {}, {}
        for parameter in map(self._followed, self.told["parameters"]):
            examples = parameter.get("examples", {})
            if parameter["in"] == "path":
                chosen = examples.get(name) or next(iter(examples.values()))
                path[parameter["name"]] = chosen["value"]
            elif name in examples:
                query[parameter["name"]] = examples[name]["value"]
        contents = self.told.get("requestBody", {}).get("content", {})
        for media, content in contents.items():
            if name in content["examples"]:
                return Asked(path, query, media, content["examples"][name]["value"])
        if name == "unknown" and contents:
            media, content = next(iter(contents.items()))
            return Asked(path, query, media, next(iter(content["examples"].values()))["value"])
        return Asked(path, query, None, None)

    def complaints(self, status: int, headers: Mapping[str, str], media: str, body: Any) -> list[str]:
        """What is not as it is described in an answer; a JSON body is decoded, and may hold nothing more than
        is described."""
        if str(status) not in self.told["responses"]:
            return [f"the status {status} is not described"]
        response = self.response(status)
        missing = [
            f"no header {name}"
            for name, header in response["headers"].items()
            if self._followed(header).get("required") and name not in headers
        ]
        content = response.get("content", {})
        if not content:
            return missing
        if media not in content:
            return [*missing, f"the media type {media!r} is not described"]
        schema = {**content[media]["schema"], "components": _closed(self.document["components"])}
        wrong = jsonschema.Draft202012Validator(schema).iter_errors(body)
        return [*missing, *(f"{error.json_path}: {error.message}" for error in wrong)]

    def _followed(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            target: Any = self.document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            node = target
        return node


def operations(document: dict[str, Any]) -> list[Documented]:
    """All of them."""
    return [
        Documented(document, method, path, told)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    ]


def _closed(components: dict[str, Any]) -> dict[str, Any]:
    """The schemas, with nothing allowed that they do not name: here, a key too many is a mistake."""
    return {
        "schemas": {
            name: {**schema, "additionalProperties": False} if "properties" in schema else schema
            for name, schema in components["schemas"].items()
        }
    }
