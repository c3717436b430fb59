"""Who reads contents is recorded before anything is sent, where the settings ask for it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from events.catalog import new_event
from events.errors import LogBusy
from events.event import NewEvent
from events.origin import Origin
from events.reads import ContentRead, reads_stream, recorded_reads
from tests.api.serving import OPTIONS, Project, Served, serving
from tests.api.test_audit import ended
from tests.engine.recorded import outcome
from tests.postgres import Database, PostgresServer

CONTENT = b'{"custom_id":"a"}\n'


@pytest.fixture(scope="module")
def watched(
    postgres_server: PostgresServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """An API that records reads."""
    options = msgspec.structs.replace(OPTIONS, audit_reads=True)
    with serving(
        postgres_server, migrated_template.name, tmp_path_factory.mktemp("files"), options
    ) as running:
        yield running


@pytest.fixture
def project(watched: Served) -> Project:
    """A project of the API that records reads."""
    return watched.project()


async def _reads(served: Served, project_id: str, since: datetime | None) -> list[tuple[ContentRead, Origin]]:
    return [
        (msgspec.json.decode(event.data, type=ContentRead), Origin.of(event.metadata))
        async for event in recorded_reads(served.journal.log, project_id, since)
    ]


def reads(
    served: Served, project: Project, since: datetime | None = None
) -> list[tuple[ContentRead, Origin]]:
    """What is recorded of who read a project's contents."""
    return served.run(_reads(served, project.id, since))


def test_a_download_is_recorded_with_who_asked_and_for_which_bytes(watched: Served, project: Project) -> None:
    file_id = project.client.uploaded(CONTENT)
    whole = project.client.get(f"/v1/files/{file_id}/content")
    part = project.client.get(f"/v1/files/{file_id}/content", range="bytes=2-5")
    assert (whole.body, part.body) == (CONTENT, CONTENT[2:6])
    assert reads(watched, project) == [
        (
            ContentRead(file_id, "bytes", start, end),
            Origin(project.key_id, request=answer.headers["x-request-id"]),
        )
        for answer, start, end in ((whole, 0, len(CONTENT)), (part, 2, 6))
    ]


def test_results_lines_and_errors_are_contents_too(watched: Served, project: Project) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    content = msgspec.json.encode(line) + b"\n" + msgspec.json.encode(line | {"custom_id": "b"}) + b"\n"
    batch_id = project.client.created(project.client.uploaded(content))
    watched.start(batch_id, content)
    watched.record(batch_id, outcome(batch_id, 0), outcome(batch_id, 1, 400))
    for path in ("results?offset=1", "results", "lines/b", "errors"):
        assert project.client.get(f"/v1/batches/{batch_id}/{path}").status == 200
    assert [read for read, _ in reads(watched, project)] == [
        ContentRead(batch_id, "results", 1, 2),
        ContentRead(batch_id, "results", 0, 2),
        ContentRead(batch_id, "line", 1, 2),
        ContentRead(batch_id, "errors", 0, 1),
    ]


def test_evidence_is_a_read_where_it_has_the_results_themselves(watched: Served, project: Project) -> None:
    batch_id, _, _ = ended(watched, project)
    watched.seal()
    path = f"/v1/batches/{batch_id}/evidence"
    assert project.client.get(path).status == 200
    assert project.client.ask("HEAD", f"{path}?bodies=true").status == 200
    assert reads(watched, project) == []
    shown = project.client.get(f"{path}?bodies=true")
    assert shown.status == 200
    assert reads(watched, project) == [
        (
            ContentRead(batch_id, "results", 0, 3),
            Origin(project.key_id, request=shown.headers["x-request-id"]),
        )
    ]


def test_what_sends_no_contents_is_no_read(watched: Served, project: Project) -> None:
    file_id = project.client.uploaded(CONTENT)
    batch_id = project.client.created(file_id)
    for path in (
        f"files/{file_id}",
        "files",
        f"batches/{batch_id}",
        f"batches/{batch_id}/events",
        f"batches/{batch_id}/results",
        f"batches/{batch_id}/lines/none",
        "files/file-none/content",
    ):
        project.client.get(f"/v1/{path}")
    project.client.ask("HEAD", f"/v1/files/{file_id}/content")
    assert reads(watched, project) == []


def test_a_read_that_cannot_be_recorded_is_not_answered(
    watched: Served, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = project.client.uploaded(CONTENT)

    async def busy(*_: object, **__: object) -> list[int]:
        raise LogBusy("the log is busy")

    monkeypatch.setattr(watched.journal.log, "append", busy)
    answer = project.client.get(f"/v1/files/{file_id}/content")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert CONTENT not in answer.body


def test_another_project_has_a_stream_of_its_own(watched: Served, project: Project) -> None:
    other = watched.project()
    other.client.get(f"/v1/files/{other.client.uploaded(CONTENT)}/content")
    assert reads(watched, project) == []
    assert len(reads(watched, other)) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_reads_since_a_moment_are_found(watched: Served, project: Project, count: int) -> None:
    def read(n: int) -> NewEvent:
        return new_event(reads_stream(project.id), project.id, ContentRead("file-1", "bytes", n, n + 1))

    for n in range(count):
        watched.run(watched.journal.log.append([read(n)]))
    recorded = watched.run(watched.journal.log.stream(reads_stream(project.id)))
    for n, event in enumerate(recorded):
        found = reads(watched, project, event.recorded_at)
        assert [read.start for read, _ in found] == list(range(n, count))
    assert reads(watched, project, datetime.now(UTC)) == []
    assert len(reads(watched, project, datetime(2026, 1, 1, tzinfo=UTC))) == count


def test_nothing_is_recorded_unless_it_is_asked_for(served: Served) -> None:
    project = served.project()
    project.client.get(f"/v1/files/{project.client.uploaded(CONTENT)}/content")
    assert reads(served, project) == []
