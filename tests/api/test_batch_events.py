"""What happened to a batch: in pages, and as it happens."""

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from uuid import uuid4

import pytest

from api.open_streams import MOST_EACH
from events.batch import (
    Batch,
    BatchCancelled,
    BatchCancelRequested,
    BatchCompleted,
    BatchEvent,
    BatchFinalizing,
    BatchStarted,
    LinesCompleted,
    Usage,
)
from tests.api.serving import Project, Served

SSE = "text/event-stream"
LIFE: list[BatchEvent] = [
    BatchStarted(2, "m"),
    LinesCompleted("a-secret-token", "worker-1", 1, 1, Usage(1, 2, 0, 0, 3), 0, "00"),
    BatchFinalizing("done"),
    BatchCompleted("file-o", "file-e"),
]
TYPES = ["BatchCreated", "BatchStarted", "LinesCompleted", "BatchFinalizing", "BatchCompleted"]


class Listening:
    """A client that reads an event stream."""

    def __init__(self, project: Project, batch_id: str, **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", project.client.port, timeout=60)
        authorization = {"authorization": f"Bearer {project.key}", "accept": SSE}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request("GET", f"/v1/batches/{batch_id}/events", headers=authorization | named)
        self.answer = self.connection.getresponse()

    def messages(self) -> Iterator[dict[str, str]]:
        """Its messages, to the end of the answer."""
        fields: dict[str, str] = {}
        for line in self.answer:
            text = line.decode().rstrip("\n")
            if not text:
                yield fields
                fields = {}
            else:
                name, _, value = text.partition(": ")
                fields[name] = value
        assert not fields, "the answer ends within a message"


@contextmanager
def listening_to(project: Project, batch_id: str, **headers: str) -> Iterator[Listening]:
    """A client that reads the events of a batch, and leaves."""
    listening = Listening(project, batch_id, **headers)
    with closing(listening.connection), closing(listening.answer):
        yield listening


def ended(served: Served, project: Project) -> str:
    """A batch that has completed."""
    batch_id = project.client.created(project.client.uploaded())
    served.happen(batch_id, *LIFE)
    return batch_id


def test_the_history_of_a_batch_is_listed(served: Served, project: Project) -> None:
    batch_id = ended(served, project)
    listed = project.client.get(f"/v1/batches/{batch_id}/events").json
    assert [event["type"] for event in listed["data"]] == TYPES
    assert [event["id"] for event in listed["data"]] == ["1", "2", "3", "4", "5"]
    assert (listed["object"], listed["first_id"], listed["last_id"], listed["has_more"]) == (
        "list",
        "1",
        "5",
        False,
    )
    created = listed["data"][0]
    assert set(created) == {"id", "object", "type", "created_at", "event_id", "actor", "data"}
    assert (created["object"], created["actor"]) == ("batch.event", project.key_id)
    assert created["data"]["endpoint"] == "/v1/chat/completions"
    assert listed["data"][4]["data"] == {
        "output_file_id": "file-o",
        "error_file_id": "file-e",
        "checkpoint": None,
    }


def test_what_is_the_servers_own_is_not_shown(served: Served, project: Project) -> None:
    batch_id = ended(served, project)
    key = served.run(served.journal.models.get(Batch, batch_id)).state.created.input
    assert key is not None
    shown = project.client.get(f"/v1/batches/{batch_id}/events").body.decode()
    assert "worker-1" in shown
    assert "a-secret-token" not in shown
    assert key.storage_key not in shown


def test_a_page_follows_another(served: Served, project: Project) -> None:
    path = f"/v1/batches/{ended(served, project)}/events"
    found: list[str] = []
    after = "0"
    while True:
        page = project.client.get(f"{path}?limit=2&after={after}").json
        found += [event["type"] for event in page["data"]]
        if not page["has_more"]:
            break
        after = page["data"][-1]["id"]
    assert found == TYPES
    assert project.client.get(f"{path}?after={'9' * 30}").json["data"] == []


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=0", "limit", "integer_below_min_value"),
        ("limit=1001", "limit", "integer_above_max_value"),
        ("limit=x", "limit", "invalid_type"),
        ("after=batch_1", "after", "invalid_type"),
        ("after=-1", "after", "integer_below_min_value"),
    ],
)
def test_a_wrong_page_is_refused(project: Project, query: str, param: str, code: str) -> None:
    answer = project.client.get(f"/v1/batches/{project.client.created()}/events?{query}")
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)


@pytest.mark.parametrize("accept", ["*/*", SSE])
def test_another_projects_batch_is_unknown(served: Served, project: Project, accept: str) -> None:
    others = served.project().client.created()
    for batch_id in (others, f"batch_{uuid4().hex}", "%00"):
        answer = project.client.get(f"/v1/batches/{batch_id}/events", accept=accept)
        assert answer.status == 404
        assert (answer.error["message"] or "").startswith("No batch found with id '")


def test_a_stream_tells_all_there_was_and_ends_with_the_batch(served: Served, project: Project) -> None:
    batch_id = ended(served, project)
    with listening_to(project, batch_id) as listening:
        assert listening.answer.headers["content-type"] == SSE
        messages = list(listening.messages())
    assert [message["event"] for message in messages] == TYPES
    listed = project.client.get(f"/v1/batches/{batch_id}/events").json["data"]
    assert [json.loads(message["data"]) for message in messages] == listed
    assert [message["id"] for message in messages] == [event["id"] for event in listed]


def test_a_stream_tells_what_happens_while_it_happens(served: Served, project: Project) -> None:
    batch_id = project.client.created(project.client.uploaded())
    with listening_to(project, batch_id) as listening:
        messages = listening.messages()
        assert next(messages)["event"] == "BatchCreated"
        for event in LIFE:
            served.happen(batch_id, event)
            assert next(messages)["event"] == type(event).__name__
        assert list(messages) == []


def test_a_stream_goes_on_where_it_was_cut(served: Served, project: Project) -> None:
    batch_id = project.client.created(project.client.uploaded())
    served.happen(batch_id, BatchStarted(2, "m"))
    with listening_to(project, batch_id) as first:
        assert next(first.messages())["id"] == "1"
    with listening_to(project, batch_id, last_event_id="1") as second:
        served.happen(batch_id, BatchCancelRequested(), BatchFinalizing("cancelled"), BatchCancelled())
        assert [message["id"] for message in second.messages()] == ["2", "3", "4", "5"]


def test_who_has_heard_the_end_is_told_not_to_come_again(served: Served, project: Project) -> None:
    with listening_to(project, ended(served, project), last_event_id="5") as listening:
        assert (listening.answer.status, listening.answer.read()) == (204, b"")


def test_nobody_has_heard_what_has_not_happened(served: Served, project: Project) -> None:
    batch_id = project.client.created(project.client.uploaded())
    with listening_to(project, batch_id, last_event_id="99") as listening:
        served.happen(batch_id, *LIFE)
        assert [message["id"] for message in listening.messages()] == ["2", "3", "4", "5"]
    with listening_to(project, batch_id, last_event_id="99") as late:
        assert (late.answer.status, late.answer.read()) == (204, b"")


def test_the_last_event_heard_goes_before_the_query_also_where_none_was_heard(
    served: Served, project: Project
) -> None:
    answer = project.client.get(
        f"/v1/batches/{ended(served, project)}/events?after=3", accept=SSE, last_event_id="0"
    )
    assert answer.body.startswith(b"id: 1\n")


def test_a_wrong_last_event_id_is_refused(project: Project) -> None:
    path = f"/v1/batches/{project.client.created()}/events"
    for accept in (SSE, "application/json"):
        answer = project.client.get(path, accept=accept, last_event_id="latest")
        assert answer.status == 400
        assert (answer.error["param"], answer.error["code"]) == ("last-event-id", "invalid_type")


def test_one_key_holds_only_so_many_streams(served: Served, project: Project) -> None:
    batch_id = project.client.created(project.client.uploaded())
    path = f"/v1/batches/{batch_id}/events"
    with ExitStack() as leaving:
        for _ in range(MOST_EACH):
            next(leaving.enter_context(listening_to(project, batch_id)).messages())
        refused = project.client.get(path, accept=SSE)
        assert refused.status == 429
        assert (refused.error["code"], refused.headers["retry-after"]) == ("rate_limit_exceeded", "5")
        other = served.project(project.id)
        served.happen(batch_id, *LIFE)
        assert other.client.get(path, accept=SSE).status == 200


def test_a_stream_ends_when_the_server_stops(served: Served, project: Project) -> None:
    batch_id = project.client.created(project.client.uploaded())
    with listening_to(project, batch_id) as listening:
        messages = listening.messages()
        next(messages)
        served.streams.ending = True
        try:
            assert list(messages) == []
        finally:
            served.streams.ending = False


def test_a_silent_stream_says_that_it_is_still_there(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.batches.events.SILENCE", 0.0)
    batch_id = project.client.created(project.client.uploaded())
    with listening_to(project, batch_id) as listening:
        messages = listening.messages()
        assert next(messages)["event"] == "BatchCreated"
        assert next(messages) == {"": "nothing new"}  # a comment, which clients pass over
