"""Models are those of the upstream."""

from collections.abc import Iterator

import pytest

from tests.api.serving import KnownModels, Project, Served


@pytest.fixture
def models(served: Served) -> Iterator[KnownModels]:
    known = served.models
    assert isinstance(known, KnownModels)
    before = known.ids
    yield known
    known.ids = before


def test_models_are_listed(project: Project) -> None:
    answer = project.client.get("/v1/models")
    assert answer.json["object"] == "list"
    assert answer.json["data"][0] == {
        "id": "small",
        "object": "model",
        "created": 0,
        "owned_by": "upstream",
        "shutdown_date": None,
    }


@pytest.mark.parametrize("path", ["small", "org/large", "org%2Flarge"])
def test_a_model_may_hold_slashes(project: Project, path: str) -> None:
    assert project.client.get(f"/v1/models/{path}").json["id"] == path.replace("%2F", "/")


def test_an_unknown_model(project: Project) -> None:
    answer = project.client.get("/v1/models/org/unknown")
    assert answer.status == 404
    assert answer.error == {
        "message": "The model 'org/unknown' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_without_the_upstream_there_is_no_list(models: KnownModels, project: Project) -> None:
    models.ids = None
    answer = project.client.get("/v1/models")
    assert answer.status == 503
    assert answer.error["type"] == "server_error"
    assert answer.error["message"] == "The upstream http://gpu:8000/v1 does not answer."
    assert answer.headers["retry-after"] == "1"
