"""A key opens the objects of its own project; those of another are answered like unknown ones."""

from events.batch import Batch
from events.catalog import new_event
from events.journal import Decision
from events.key import Key, RevokeKey, decide
from tests.api.client import Client
from tests.api.serving import Project, Served


def test_a_foreign_object_is_answered_like_an_unknown_one(served: Served, project: Project) -> None:
    stranger = served.project()
    file_id = project.client.uploaded()
    batch_id = project.client.created(file_id)
    for method, path in [
        ("GET", "/v1/files/{file}"),
        ("DELETE", "/v1/files/{file}"),
        ("GET", "/v1/files/{file}/content"),
        ("GET", "/v1/batches/{batch}"),
        ("POST", "/v1/batches/{batch}/cancel"),
        ("GET", "/v1/files?after={file}"),
        ("GET", "/v1/batches?after={batch}"),
    ]:
        foreign = stranger.client.ask(method, path.format(file=file_id, batch=batch_id))
        unknown = stranger.client.ask(method, path.format(file="file-unknown", batch="batch_unknown"))
        assert foreign.status == unknown.status == 404
        told = foreign.body.replace(file_id.encode(), b"file-unknown")
        assert told.replace(batch_id.encode(), b"batch_unknown") == unknown.body
    assert project.client.get(f"/v1/files/{file_id}").status == 200
    assert project.client.get(f"/v1/batches/{batch_id}").json["status"] == "validating"


def test_lists_hold_the_projects_own(served: Served, project: Project) -> None:
    stranger = served.project()
    project.client.created(project.client.uploaded())
    for path in ("/v1/files", "/v1/batches"):
        assert len(project.client.get(path).json["data"]) == 1
        assert stranger.client.get(path).json == {
            "data": [],
            "first_id": None,
            "last_id": None,
            "has_more": False,
            "object": "list",
        }


def test_a_foreign_file_is_no_input(served: Served, project: Project) -> None:
    foreign = served.project().client.uploaded()
    batch_id = project.client.created(foreign)
    assert served.run(served.journal.models.get(Batch, batch_id)).state.created.input is None
    assert not served.run(served.board.holds_input(foreign))


def test_two_keys_of_a_project_see_the_same(served: Served, project: Project) -> None:
    file_id = project.client.uploaded()
    assert served.project(project.id).client.get(f"/v1/files/{file_id}").status == 200


def test_without_a_key_nothing_is_told(served: Served) -> None:
    for headers in [{}, {"authorization": "Bearer "}, {"authorization": "Basic abc"}, {"authorization": "x"}]:
        answer = Client(served.port, None).ask("GET", "/v1/models", headers=headers)
        assert answer.status == 401
        assert (answer.error["message"] or "").startswith(
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)"
        )
        assert (answer.error["type"], answer.error["code"]) == ("invalid_request_error", None)


def test_a_wrong_key_is_shown_masked(served: Served) -> None:
    answer = Client(served.port, "sk-abcdefghijklmnopqrstuvwxyz").get("/v1/batches")
    assert answer.status == 401
    assert (answer.error["message"] or "").startswith("Incorrect API key provided: sk-ab***yz. ")
    assert (answer.error["type"], answer.error["code"]) == ("invalid_request_error", "invalid_api_key")
    for short in ("sk-short", "\xe9" * 40):
        assert "provided: ***." in (Client(served.port, short).get("/v1/batches").error["message"] or "")


def test_a_revoked_key_opens_nothing_any_more(served: Served, project: Project) -> None:
    assert project.client.get("/v1/batches").status == 200
    served.run(
        served.journal.carry_out(
            Key,
            project.key_id,
            lambda seen: Decision(
                [new_event(seen.id, seen.project_id, event) for event in decide(seen.state, RevokeKey())]
            ),
        )
    )
    assert project.client.get("/v1/batches").error["code"] == "invalid_api_key"


def test_the_azure_sdks_header_will_do(served: Served, project: Project) -> None:
    answer = Client(served.port, None).ask("GET", "/v1/batches", headers={"api-key": project.key})
    assert answer.status == 200
