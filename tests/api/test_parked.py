"""An object with an event that only a newer program knows: it is shown as far as it is understood, nothing is
decided about it, and no other is touched."""

from uuid import uuid4

from events.event import NewEvent
from tests.api.client import Answer
from tests.api.serving import Project, Served

STRANGE = "no event type 'Sublimated' in this program: a newer one wrote it; upgrade to read on"


def park(served: Served, project: Project, stream_id: str) -> None:
    """What a newer program does to an object."""
    served.run(served.journal.log.append([NewEvent(uuid4(), stream_id, project.id, "Sublimated", "{}")]))


def assert_put_off(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.error["message"] == (
        "A newer version of this server changed the object. Please try again later."
    )
    assert answer.headers["retry-after"] == "1"


def test_a_parked_batch_is_shown_and_not_cancelled(served: Served, project: Project) -> None:
    batch_id, other = project.client.created(), project.client.created()
    park(served, project, batch_id)
    shown = project.client.get(f"/v1/batches/{batch_id}")
    assert (shown.status, shown.json["status"]) == (200, "validating")
    said = {"waiting_for": STRANGE, "lines_left": None, "parked": STRANGE, "retry_of": None}
    assert shown.json["batchmill"] == said
    listed = project.client.get("/v1/batches").json["data"]
    assert [(b["id"], b["batchmill"]["parked"]) for b in listed] == [(other, None), (batch_id, STRANGE)]
    assert_put_off(project.client.ask("POST", f"/v1/batches/{batch_id}/cancel"))
    assert project.client.ask("POST", f"/v1/batches/{other}/cancel").json["status"] == "cancelled"


def test_a_parked_file_is_shown_and_neither_deleted_nor_run(served: Served, project: Project) -> None:
    file_id, other = project.client.uploaded(), project.client.uploaded()
    park(served, project, file_id)
    assert project.client.get(f"/v1/files/{file_id}").json["id"] == file_id
    assert {file["id"] for file in project.client.get("/v1/files").json["data"]} == {file_id, other}
    assert_put_off(project.client.ask("DELETE", f"/v1/files/{file_id}"))
    assert_put_off(project.client.create(file_id))
    assert project.client.create(other).status == 200


def test_a_parked_key_opens_nothing(served: Served, project: Project) -> None:
    """It may have been restricted in a way that this program cannot see."""
    other = served.project(project.id)
    park(served, project, project.key_id)
    assert_put_off(project.client.get("/v1/batches"))
    assert other.client.get("/v1/batches").status == 200
