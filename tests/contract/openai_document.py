"""OpenAI's description of its API (`openai.yaml`), and whether an answer is as it says."""

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import yaml  # type: ignore[import-untyped]  # it ships no types

_FILE: Final = Path(__file__).with_name("openai.yaml")
_COMPLETE: Final = ("Batch", "OpenAIFile", "ListBatchesResponse", "ListFilesResponse", "Model", "Error")
"""Objects in which no key may be absent, so that no client has to ask whether it is there."""
_OURS: Final = {"Batch": ("batchmill",)}
"""What we say beyond the description."""
_NOT_LISTED: Final = ("evals",)
"""Purposes that files can be uploaded for, and that the description forgot in the answer."""


def assert_described(method: str, path: str, status: int, body: Any) -> None:
    """An answer to `method` on `path` (with its query, under `/v1`) is as OpenAI describes it; what the
    description does not have is let through, but an error must be an error's envelope."""
    name = "ErrorResponse" if status >= 400 else _answer_of(method, path.partition("?")[0])
    if name is not None:
        assert_valid(name, body)


def assert_valid(schema: str, value: Any) -> None:
    """A value fits a schema of the description, by its name."""
    document = _document()
    complaints = [
        f"{error.json_path}: {error.message}"
        for error in jsonschema.Draft202012Validator(
            {"$ref": f"#/schemas/{schema}", "schemas": document["schemas"]}
        ).iter_errors(value)
    ]
    assert not complaints, f"no {schema}: {complaints}"


def described() -> list[tuple[str, str]]:
    """Every method and path template that is described, without the `/v1`."""
    return [(method, path) for path, methods in _document()["paths"].items() for method in methods]


def _answer_of(method: str, path: str) -> str | None:
    """The name of the schema; None where there is none, or the answer is no JSON."""
    for template, methods in _document()["paths"].items():
        if re.fullmatch("/v1" + re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in methods:
            reference: str = methods[method.lower()].get("$ref", "")
            return reference.rpartition("/")[2] or None
    return None


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(_FILE.read_text("utf-8"))
    schemas = document["schemas"]
    for name, nullable in document["x-null-in-practice"].items():
        properties = schemas[name]["properties"]
        for key in nullable:
            properties[key] = {"anyOf": [properties[key], {"type": "null"}]}
    for name in _COMPLETE:
        schemas[name]["required"] = [*schemas[name]["properties"], *_OURS.get(name, ())]
        schemas[name]["unevaluatedProperties"] = False
    for name, ours in _OURS.items():
        schemas[name]["properties"] |= {key: {"type": "object"} for key in ours}
    schemas["OpenAIFile"]["properties"]["purpose"]["enum"] += _NOT_LISTED
    return document
